package load

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/template"
	"go.yaml.in/yaml/v4"
)

// Render prints a model as yaml or json.
func Render(m map[string]any, form string) ([]byte, error) {
	if form == "json" {
		return json.MarshalIndent(m, "", "  ")
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(m)
	return b.Bytes(), err
}

// Profiles are all profiles of a project's services.
func Profiles(p *Project) []string {
	set := map[string]bool{}
	for _, s := range p.AllServices() {
		for _, name := range s.Profiles {
			set[name] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// Variables are those that a model names, by name.
func Variables(m map[string]any) []template.Variable {
	found := template.ExtractVariables(m, template.DefaultPattern)
	list := slices.Collect(maps.Values(found))
	slices.SortFunc(list, func(a, b template.Variable) int { return strings.Compare(a.Name, b.Name) })
	return list
}
