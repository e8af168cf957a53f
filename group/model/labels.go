// Package model turns the services of a project into Docker's structures and
// labels, so that docker compose and coracle see the same groups. It is pure:
// it asks no engine and changes nothing.
package model

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"coracle/group/load"
	"coracle/internal/version"

	"github.com/compose-spec/compose-go/v2/types"
)

// The labels by which docker compose knows what is a project's.
const (
	LabelProject     = "com.docker.compose.project"
	LabelService     = "com.docker.compose.service"
	LabelHash        = "com.docker.compose.config-hash"
	LabelNumber      = "com.docker.compose.container-number"
	LabelOneoff      = "com.docker.compose.oneoff"
	LabelDepends     = "com.docker.compose.depends_on"
	LabelDirectory   = "com.docker.compose.project.working_dir"
	LabelFiles       = "com.docker.compose.project.config_files"
	LabelEnvironment = "com.docker.compose.project.environment_file"
	LabelImage       = "com.docker.compose.image"
	LabelVersion     = "com.docker.compose.version"
	LabelReplace     = "com.docker.compose.replace"
	LabelSlug        = "com.docker.compose.slug"
	LabelNetwork     = "com.docker.compose.network"
	LabelVolume      = "com.docker.compose.volume"
)

// Labels are those of a service's container; number 0: it is a one-off.
func Labels(p *load.Project, s *types.ServiceConfig, number int, imageID string) (map[string]string, error) {
	hash, err := Hash(s)
	if err != nil {
		return nil, err
	}
	l := map[string]string{}
	maps.Copy(l, s.Labels)
	l[LabelProject] = p.Name
	l[LabelService] = s.Name
	l[LabelHash] = hash
	l[LabelDepends] = Depends(present(p, s.DependsOn))
	l[LabelDirectory] = p.WorkingDir
	l[LabelFiles] = strings.Join(p.ComposeFiles, ",")
	l[LabelVersion] = version.Version
	l[LabelOneoff] = "False"
	if len(p.EnvFiles) > 0 {
		l[LabelEnvironment] = strings.Join(p.EnvFiles, ",")
	}
	if imageID != "" {
		l[LabelImage] = imageID
	}
	if number > 0 {
		l[LabelNumber] = strconv.Itoa(number)
	} else {
		l[LabelOneoff] = "True"
	}
	return l, nil
}

// present leaves out what a service could do without and is not there.
func present(p *load.Project, d types.DependsOnConfig) types.DependsOnConfig {
	out := types.DependsOnConfig{}
	for name, dep := range d {
		if _, ok := p.Services[name]; ok || dep.Required {
			out[name] = dep
		}
	}
	return out
}

// Depends is the label that says what a service waits for.
func Depends(d types.DependsOnConfig) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(d)) {
		list = append(list, fmt.Sprintf("%s:%s:%t", name, d[name].Condition, d[name].Restart))
	}
	return strings.Join(list, ",")
}

// ParseDepends reads that label; what cannot be read is left out.
func ParseDepends(label string) types.DependsOnConfig {
	d := types.DependsOnConfig{}
	for _, one := range strings.Split(label, ",") {
		part := strings.Split(one, ":")
		if part[0] == "" {
			continue
		}
		dep := types.ServiceDependency{Condition: types.ServiceConditionStarted, Required: true}
		if len(part) > 1 {
			dep.Condition = part[1]
		}
		if len(part) > 2 {
			dep.Restart = part[2] == "true"
		}
		d[part[0]] = dep
	}
	return d
}

// Name is the name of a service's container.
func Name(p *load.Project, s *types.ServiceConfig, number int) string {
	if s.ContainerName != "" {
		return s.ContainerName
	}
	return strings.Join([]string{p.Name, s.Name, strconv.Itoa(number)}, p.Separator)
}
