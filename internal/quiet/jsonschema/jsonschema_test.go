package jsonschema

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func compile(t *testing.T, text string, formats ...*Format) (*Schema, error) {
	t.Helper()
	doc, err := UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := NewCompiler()
	for _, f := range formats {
		c.RegisterFormat(f)
	}
	if err := c.AddResource("s", doc); err != nil {
		t.Fatal(err)
	}
	return c.Compile("s")
}

// leaves are the texts of what a document broke.
func leaves(e *ValidationError) (list []string) {
	if len(e.Causes) == 0 {
		return []string{e.Error()}
	}
	for _, c := range e.Causes {
		list = append(list, leaves(c)...)
	}
	return list
}

// TestValidate: each keyword, with a document that keeps it and one that breaks it.
func TestValidate(t *testing.T) {
	even := &Format{Name: "even", Validate: func(v any) error {
		if s, ok := v.(string); ok && len(s)%2 != 0 {
			return errors.New("is odd")
		}
		return nil
	}}
	for _, tc := range []struct{ schema, good, bad, want string }{
		{`{"type": "string"}`, `"x"`, `1`, "got integer, want string"},
		{`{"type": ["string", "null"]}`, `null`, `[]`, "got array, want string or null"},
		{`{"type": "integer"}`, `3`, `3.5`, "want integer"},
		{`{"type": "number"}`, `3`, `"3"`, "got string, want number"},
		{`{"enum": ["a", "b"]}`, `"b"`, `"c"`, ""},
		{`{"type": "object", "required": ["a"]}`, `{"a": 1}`, `{}`, "missing property 'a'"},
		{`{"type": "object", "properties": {"a": {"type": "string"}}}`, `{"a": "", "b": 1}`, `{"a": 1}`, "a got integer, want string"},
		{`{"type": "object", "properties": {"a": {}}, "additionalProperties": false}`, `{"a": 1}`, `{"b": 1}`, "additional properties 'b' not allowed"},
		{`{"type": "object", "patternProperties": {"^x-": {}}, "additionalProperties": false}`, `{"x-1": 1}`, `{"y": 1}`, "'y' not allowed"},
		{`{"type": "object", "additionalProperties": {"type": "string"}}`, `{"a": ""}`, `{"a": 1}`, "a got integer"},
		{`{"type": "array", "items": {"type": "string"}}`, `["a"]`, `["a", 1]`, "1 got integer, want string"},
		{`{"type": "array", "uniqueItems": true}`, `[1, 2]`, `[1, 1]`, ""},
		{`{"type": "string", "pattern": "^a"}`, `"ab"`, `"ba"`, "^a"},
		{`{"type": "string", "format": "even"}`, `"ab"`, `"abc"`, "is odd"},
		{`{"type": "number", "minimum": 1, "maximum": 2}`, `1.5`, `0`, "minimum: got 0, want 1"},
		{`{"type": "number", "minimum": 1, "maximum": 2}`, `2`, `3`, "maximum: got 3, want 2"},
		{`{"oneOf": [{"type": "string"}, {"type": "number"}]}`, `1`, `true`, ""},
		{`{"oneOf": [{"type": "string"}, {"enum": ["a"]}]}`, `"b"`, `"a"`, ""},
		{`{"anyOf": [{"type": "string"}, {"enum": ["a"]}]}`, `"a"`, `1`, ""},
		{`{"allOf": [{"type": "string"}, {"enum": ["a"]}]}`, `"a"`, `"b"`, ""},
		{`{"$ref": "#/definitions/s", "definitions": {"s": {"type": "string"}}}`, `"a"`, `1`, "got integer, want string"},
	} {
		s, err := compile(t, tc.schema, even)
		if err != nil {
			t.Errorf("%s: %v", tc.schema, err)
			continue
		}
		good, _ := UnmarshalJSON(strings.NewReader(tc.good))
		if err := s.Validate(good); err != nil {
			t.Errorf("%s refuses %s: %v", tc.schema, tc.good, err)
		}
		bad, _ := UnmarshalJSON(strings.NewReader(tc.bad))
		var e *ValidationError
		if err := s.Validate(bad); !errors.As(err, &e) {
			t.Errorf("%s takes %s: %v", tc.schema, tc.bad, err)
		} else if all := leaves(e); !slices.ContainsFunc(all, func(l string) bool { return strings.Contains(l, tc.want) }) {
			t.Errorf("%s, %s: says %q, want %q", tc.schema, tc.bad, all, tc.want)
		}
	}
}

// TestUnknown: a keyword that nothing here looks at must not pass for checked.
func TestUnknown(t *testing.T) {
	for _, text := range []string{`{"contains": {"type": "string"}}`, `{"properties": {"a": {"if": {}}}}`, `{"$ref": "#/definitions/none"}`, `{"pattern": "("}`} {
		if _, err := compile(t, text); err == nil {
			t.Errorf("%s is taken", text)
		}
	}
	if _, err := NewCompiler().Compile("none"); err == nil {
		t.Error("a schema that nobody gave is compiled")
	}
}
