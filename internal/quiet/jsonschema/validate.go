package jsonschema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Validate checks a document; its error is a *ValidationError.
func (s *Schema) Validate(v any) error {
	if errs := s.check(v, nil); len(errs) > 0 {
		return failed(nil, kind.Text("validation failed"), errs)
	}
	return nil
}

func failed(at []string, k ErrorKind, causes []*ValidationError) *ValidationError {
	return &ValidationError{InstanceLocation: slices.Clone(at), ErrorKind: k, Causes: causes}
}

// check lists what v breaks; at is where it stands.
func (s *Schema) check(v any, at []string) (errs []*ValidationError) {
	add := func(k ErrorKind) { errs = append(errs, failed(at, k, nil)) }
	if s.never {
		add(kind.Text("not allowed"))
		return errs
	}
	if got := typeOf(v); len(s.types) > 0 && !slices.ContainsFunc(s.types, func(want string) bool {
		return want == got || want == "number" && got == "integer"
	}) {
		add(&kind.Type{Got: got, Want: slices.Clone(s.types)})
		return errs
	}
	if s.enum != nil && !slices.ContainsFunc(s.enum, func(e any) bool { return equal(e, v) }) {
		add(&kind.Enum{Want: s.enum})
	}
	if s.format != nil {
		if err := s.format.Validate(v); err != nil {
			add(kind.Format(v, s.format.Name, err))
		}
	}
	switch v := v.(type) {
	case map[string]any:
		errs = append(errs, s.object(v, at)...)
	case []any:
		errs = append(errs, s.array(v, at)...)
	case string:
		if s.pattern != nil && !s.pattern.MatchString(v) {
			add(kind.Pattern(v, s.pattern.String()))
		}
	default:
		errs = append(errs, s.bounds(v, at)...)
	}
	errs = append(errs, s.combined(v, at)...)
	if m, ok := v.(map[string]any); ok && s.rest != nil {
		errs = append(errs, s.unevaluated(m, at)...)
	}
	return errs
}

// unevaluated checks the properties that neither this schema nor one that it
// takes in looked at.
func (s *Schema) unevaluated(v map[string]any, at []string) (errs []*ValidationError) {
	var more []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		switch {
		case s.covers(v, name):
		case s.rest.never:
			more = append(more, name)
		default:
			errs = append(errs, s.rest.check(v[name], append(slices.Clip(at), name))...)
		}
	}
	if more != nil {
		errs = append(errs, failed(at, &kind.AdditionalProperties{Properties: more}, nil))
	}
	return errs
}

// covers tells whether s looks at the property name of v.
func (s *Schema) covers(v map[string]any, name string) bool {
	if _, ok := s.properties[name]; ok || s.additional != nil {
		return true
	}
	if slices.ContainsFunc(s.patterns, func(p patterned) bool { return p.re.MatchString(name) }) {
		return true
	}
	inner := slices.Clone(s.all)
	if s.ref != nil {
		inner = append(inner, s.ref)
	}
	for _, sub := range slices.Concat(s.any, s.one) {
		if len(sub.check(v, nil)) == 0 {
			inner = append(inner, sub)
		}
	}
	return slices.ContainsFunc(inner, func(sub *Schema) bool { return sub.covers(v, name) })
}

func (s *Schema) object(v map[string]any, at []string) (errs []*ValidationError) {
	var missing []string
	for _, name := range s.required {
		if _, ok := v[name]; !ok {
			missing = append(missing, name)
		}
	}
	if missing != nil {
		errs = append(errs, failed(at, &kind.Required{Missing: missing}, nil))
	}
	var more []string
	for _, name := range slices.Sorted(maps.Keys(v)) {
		at := append(slices.Clip(at), name)
		known := false
		if sub, ok := s.properties[name]; ok {
			known = true
			errs = append(errs, sub.check(v[name], at)...)
		}
		for _, p := range s.patterns {
			if p.re.MatchString(name) {
				known = true
				errs = append(errs, p.s.check(v[name], at)...)
			}
		}
		switch {
		case known || s.additional == nil:
		case s.additional.never:
			more = append(more, name)
		default:
			errs = append(errs, s.additional.check(v[name], at)...)
		}
	}
	if more != nil {
		errs = append(errs, failed(at, &kind.AdditionalProperties{Properties: more}, nil))
	}
	return errs
}

func (s *Schema) array(v []any, at []string) (errs []*ValidationError) {
	if s.items != nil {
		for i, e := range v {
			errs = append(errs, s.items.check(e, append(slices.Clip(at), fmt.Sprint(i)))...)
		}
	}
	if s.unique {
		if i, j, twice := duplicate(v); twice {
			errs = append(errs, failed(at, kind.Text(fmt.Sprintf("items at %d and %d are equal", i, j)), nil))
		}
	}
	return errs
}

// duplicate finds two equal items, in one pass: a list may be long.
func duplicate(v []any) (int, int, bool) {
	seen := make(map[string]int, len(v))
	for j, e := range v {
		text, err := json.Marshal(e)
		if err != nil {
			continue
		}
		if i, ok := seen[string(text)]; ok {
			return i, j, true
		}
		seen[string(text)] = j
	}
	return 0, 0, false
}

func (s *Schema) bounds(v any, at []string) (errs []*ValidationError) {
	n := number(v)
	if n == nil {
		return nil
	}
	if want := number(s.minimum); want != nil && n.Cmp(want) < 0 {
		errs = append(errs, failed(at, &kind.Minimum{Got: n, Want: want}, nil))
	}
	if want := number(s.maximum); want != nil && n.Cmp(want) > 0 {
		errs = append(errs, failed(at, &kind.Maximum{Got: n, Want: want}, nil))
	}
	return errs
}

// combined is what other schemas say of the same value.
func (s *Schema) combined(v any, at []string) (errs []*ValidationError) {
	if s.ref != nil {
		errs = append(errs, s.ref.check(v, at)...)
	}
	for _, sub := range s.all {
		errs = append(errs, sub.check(v, at)...)
	}
	if len(s.any) > 0 {
		if n, causes := matches(s.any, v, at); n == 0 {
			errs = append(errs, failed(at, kind.Text("anyOf failed, none matched"), causes))
		}
	}
	if len(s.one) > 0 {
		switch n, causes := matches(s.one, v, at); {
		case n == 0:
			errs = append(errs, failed(at, kind.Text("oneOf failed, none matched"), causes))
		case n > 1:
			errs = append(errs, failed(at, kind.Text(fmt.Sprintf("oneOf failed, %d matched", n)), nil))
		}
	}
	return errs
}

func matches(list []*Schema, v any, at []string) (n int, causes []*ValidationError) {
	for _, sub := range list {
		errs := sub.check(v, at)
		if len(errs) == 0 {
			n++
		}
		causes = append(causes, errs...)
	}
	return n, causes
}

func number(v any) *big.Rat {
	switch v := v.(type) {
	case json.Number:
		if n, ok := new(big.Rat).SetString(v.String()); ok {
			return n
		}
	case float64:
		return new(big.Rat).SetFloat64(v)
	}
	return nil
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	default:
		if n := number(v); n != nil && n.IsInt() {
			return "integer"
		}
		return "number"
	}
}

func equal(a, b any) bool {
	if x, y := number(a), number(b); x != nil && y != nil {
		return x.Cmp(y) == 0
	}
	return reflect.DeepEqual(a, b)
}
