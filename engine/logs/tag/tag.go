// Package tag says what a log driver is told of its container: the tag, and the
// labels and variables that go with each line. The names in templates are
// Docker's.
package tag

import (
	"fmt"
	"regexp"
	"strings"
	"text/template"
	"time"
)

// Info is a container as the templates of tags see it.
type Info struct {
	ContainerID         string
	ContainerName       string // with a slash in front, as Docker has it
	ContainerEntrypoint string
	ContainerArgs       []string
	ContainerImageID    string
	ContainerImageName  string
	ContainerCreated    time.Time
	ContainerEnv        []string
	ContainerLabels     map[string]string
	DaemonName          string
	Config              map[string]string // of --log-opt
}

// ID is the container's short ID.
func (i *Info) ID() string { return short(i.ContainerID) }

// FullID is the container's ID.
func (i *Info) FullID() string { return i.ContainerID }

// Name is the container's name.
func (i *Info) Name() string { return strings.TrimPrefix(i.ContainerName, "/") }

// ImageID is the image's short ID.
func (i *Info) ImageID() string { return short(strings.TrimPrefix(i.ContainerImageID, "sha256:")) }

// ImageFullID is the image's ID.
func (i *Info) ImageFullID() string { return i.ContainerImageID }

// ImageName is the name of the image.
func (i *Info) ImageName() string { return i.ContainerImageName }

// Command is what the container was started with.
func (i *Info) Command() string {
	return strings.Join(append([]string{i.ContainerEntrypoint}, i.ContainerArgs...), " ")
}

// TemplateMethod is the methods that a template may call (see internal/slim).
func (i *Info) TemplateMethod(name string) any {
	switch name {
	case "ID":
		return i.ID
	case "FullID":
		return i.FullID
	case "Name":
		return i.Name
	case "ImageID":
		return i.ImageID
	case "ImageFullID":
		return i.ImageFullID
	case "ImageName":
		return i.ImageName
	case "Command":
		return i.Command
	}
	return nil
}

func short(id string) string { return id[:min(12, len(id))] }

// Make is the container's tag; fallback is the template where none was given.
func Make(i *Info, fallback string) (string, error) {
	text := i.Config["tag"]
	if text == "" {
		text = fallback
	}
	t, err := template.New("log-tag").Funcs(template.FuncMap{
		"join": strings.Join, "lower": strings.ToLower, "upper": strings.ToUpper, "split": strings.Split, "title": strings.ToUpper,
		"json": func(v any) string { return fmt.Sprintf("%q", v) },
	}).Parse(text)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if err := t.Execute(&b, i); err != nil {
		return "", err
	}
	return b.String(), nil
}

// Attributes are the labels and variables of the container that labels,
// labels-regex, env and env-regex name; name turns each name into a key.
func Attributes(i *Info, name func(string) string) (map[string]string, error) {
	env := map[string]string{}
	for _, kv := range i.ContainerEnv {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	out := map[string]string{}
	for _, set := range []struct {
		list, pattern string
		from          map[string]string
	}{{"labels", "labels-regex", i.ContainerLabels}, {"env", "env-regex", env}} {
		for key := range strings.SplitSeq(i.Config[set.list], ",") {
			if v, ok := set.from[key]; ok {
				out[named(name, key)] = v
			}
		}
		text := i.Config[set.pattern]
		if text == "" {
			continue
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, err
		}
		for key, v := range set.from {
			if re.MatchString(key) {
				out[named(name, key)] = v
			}
		}
	}
	return out, nil
}

func named(name func(string) string, key string) string {
	if name == nil {
		return key
	}
	return name(key)
}
