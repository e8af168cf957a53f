package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// Graph is what each service waits for.
type Graph map[string]types.DependsOnConfig

// Project is the graph of a project's services.
func Project(p *types.Project) Graph {
	g := Graph{}
	for name, s := range p.Services {
		g[name] = s.DependsOn
	}
	return g
}

// Waves puts the services into the order of their starts: those of one wave do
// not wait for each other. What is not in the graph is not waited for.
func (g Graph) Waves() ([][]string, error) {
	level := map[string]int{}
	const open = -1
	var path []string
	var visit func(name string) (int, error)
	visit = func(name string) (int, error) {
		if l, ok := level[name]; ok {
			if l == open {
				round := append(slices.Clone(path[slices.Index(path, name):]), name)
				return 0, fmt.Errorf("dependency cycle detected: %s", strings.Join(round, " -> "))
			}
			return l, nil
		}
		level[name], path = open, append(path, name)
		max := 0
		for _, dep := range slices.Sorted(maps.Keys(g[name])) {
			if _, ok := g[dep]; !ok {
				continue
			}
			l, err := visit(dep)
			if err != nil {
				return 0, err
			}
			if l+1 > max {
				max = l + 1
			}
		}
		level[name], path = max, path[:len(path)-1]
		return max, nil
	}
	names := slices.Sorted(maps.Keys(g))
	var waves [][]string
	for _, name := range names {
		if _, err := visit(name); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		for len(waves) <= level[name] {
			waves = append(waves, nil)
		}
		waves[level[name]] = append(waves[level[name]], name)
	}
	return waves, nil
}

// Dependents are the services that wait for name, directly.
func (g Graph) Dependents(name string) []string {
	var list []string
	for _, other := range slices.Sorted(maps.Keys(g)) {
		if _, ok := g[other][name]; ok {
			list = append(list, other)
		}
	}
	return list
}

// Reverse is the order of stopping: each waits for those that need it.
func (g Graph) Reverse() Graph {
	r := Graph{}
	for name := range g {
		r[name] = types.DependsOnConfig{}
	}
	for name, deps := range g {
		for dep := range deps {
			if _, ok := g[dep]; ok {
				r[dep][name] = types.ServiceDependency{Condition: types.ServiceConditionStarted, Required: true}
			}
		}
	}
	return r
}

// Only keeps the named services and the edges between them.
func (g Graph) Only(names []string) Graph {
	o := Graph{}
	for _, name := range names {
		if deps, ok := g[name]; ok {
			o[name] = deps
		}
	}
	return o
}
