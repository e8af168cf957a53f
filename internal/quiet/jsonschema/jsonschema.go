// Package jsonschema stands in for the module of its name in compose-go: the
// calls that compose-go makes and the keywords that the Compose schema uses,
// and no work at the program's start. The original compiles the metaschemas of
// six drafts in an init(), 3 ms at every start of the binary. A schema with a
// keyword that is not known here is refused, so a newer compose-go cannot be
// half-validated. It is not for other schemas.
package jsonschema

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"golang.org/x/text/message"
)

// ErrorKind is what a document broke.
type ErrorKind interface {
	LocalizedString(*message.Printer) string
}

// ValidationError is one thing that a document broke, with what led to it.
type ValidationError struct {
	InstanceLocation []string
	ErrorKind        ErrorKind
	Causes           []*ValidationError
}

func (e *ValidationError) Error() string {
	return strings.Join(e.InstanceLocation, ".") + " " + e.ErrorKind.LocalizedString(nil)
}

// Format checks strings of one format.
type Format struct {
	Name     string
	Validate func(v any) error
}

// Compiler turns a document into a Schema.
type Compiler struct {
	docs    map[string]any
	formats map[string]*Format
}

// NewCompiler returns an empty compiler.
func NewCompiler() *Compiler {
	return &Compiler{map[string]any{}, map[string]*Format{}}
}

// UnmarshalJSON reads a document, its numbers as json.Number.
func UnmarshalJSON(r io.Reader) (any, error) {
	d := json.NewDecoder(r)
	d.UseNumber()
	var doc any
	err := d.Decode(&doc)
	return doc, err
}

// AddResource gives a document a name.
func (c *Compiler) AddResource(name string, doc any) error {
	c.docs[name] = doc
	return nil
}

// RegisterFormat makes a format known.
func (c *Compiler) RegisterFormat(f *Format) { c.formats[f.Name] = f }

// Compile makes the schema of a document that was added.
func (c *Compiler) Compile(name string) (*Schema, error) {
	doc, ok := c.docs[name].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("no schema %q", name)
	}
	b := &builder{root: doc, formats: c.formats, done: map[string]*Schema{}}
	s := b.schema(doc, "")
	return s, errors.Join(b.errs...)
}

// Schema is a compiled schema.
type Schema struct {
	never      bool // the schema false
	ref        *Schema
	types      []string
	properties map[string]*Schema
	patterns   []patterned
	additional *Schema // nil: any
	rest       *Schema // of properties that nothing else looked at; nil: any
	items      *Schema
	required   []string
	enum       []any
	format     *Format
	pattern    *regexp.Regexp
	minimum    json.Number
	maximum    json.Number
	unique     bool
	all        []*Schema
	any        []*Schema
	one        []*Schema
}

type patterned struct {
	re *regexp.Regexp
	s  *Schema
}

type builder struct {
	root    map[string]any
	formats map[string]*Format
	done    map[string]*Schema // by reference
	errs    []error
}

func (b *builder) fail(at, format string, a ...any) {
	b.errs = append(b.errs, fmt.Errorf("schema at %q: "+format, append([]any{at}, a...)...))
}

func (b *builder) schema(doc any, at string) *Schema {
	s := &Schema{}
	switch doc := doc.(type) {
	case bool:
		s.never = !doc
	case map[string]any:
		b.fill(s, doc, at)
	default:
		b.fail(at, "is a %T", doc)
	}
	return s
}

func (b *builder) fill(s *Schema, doc map[string]any, at string) {
	for key, v := range doc {
		at := at + "/" + key
		switch key {
		case "$schema", "$id", "id", "title", "description", "default", "deprecated", "$defs", "definitions", "$comment", "examples":
		case "$ref":
			s.ref = b.reference(v, at)
		case "type":
			s.types = texts(v)
		case "required":
			s.required = texts(v)
		case "properties":
			s.properties = b.named(v, at)
		case "patternProperties":
			for p, sub := range b.named(v, at) {
				s.patterns = append(s.patterns, patterned{b.regexp(p, at), sub})
			}
		case "additionalProperties":
			s.additional = b.schema(v, at)
		case "unevaluatedProperties":
			s.rest = b.schema(v, at)
		case "items":
			s.items = b.schema(v, at)
		case "enum":
			s.enum, _ = v.([]any)
		case "format":
			s.format = b.formats[fmt.Sprint(v)] // others only annotate
		case "pattern":
			s.pattern = b.regexp(fmt.Sprint(v), at)
		case "minimum":
			s.minimum, _ = v.(json.Number)
		case "maximum":
			s.maximum, _ = v.(json.Number)
		case "uniqueItems":
			s.unique, _ = v.(bool)
		case "allOf":
			s.all = b.list(v, at)
		case "anyOf":
			s.any = b.list(v, at)
		case "oneOf":
			s.one = b.list(v, at)
		default:
			b.fail(at, "unknown keyword")
		}
	}
}

func (b *builder) named(v any, at string) map[string]*Schema {
	m, ok := v.(map[string]any)
	if !ok {
		b.fail(at, "is a %T", v)
	}
	out := map[string]*Schema{}
	for name, sub := range m {
		out[name] = b.schema(sub, at+"/"+name)
	}
	return out
}

func (b *builder) list(v any, at string) []*Schema {
	subs, ok := v.([]any)
	if !ok {
		b.fail(at, "is a %T", v)
	}
	var out []*Schema
	for i, sub := range subs {
		out = append(out, b.schema(sub, fmt.Sprintf("%s/%d", at, i)))
	}
	return out
}

func (b *builder) regexp(s, at string) *regexp.Regexp {
	re, err := regexp.Compile(s)
	if err != nil {
		b.fail(at, "%v", err)
	}
	return re
}

// reference resolves a pointer into the document itself.
func (b *builder) reference(v any, at string) *Schema {
	ref, _ := v.(string)
	if s, ok := b.done[ref]; ok {
		return s
	}
	path, ok := strings.CutPrefix(ref, "#/")
	var doc any = b.root
	for ok && path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		var m map[string]any
		if m, ok = doc.(map[string]any); ok {
			doc, ok = m[name]
		}
	}
	m, isObject := doc.(map[string]any)
	if !ok || !isObject {
		b.fail(at, "reference %q leads nowhere", ref)
		return &Schema{}
	}
	s := &Schema{}
	b.done[ref] = s // before its contents: it may refer to itself
	b.fill(s, m, ref)
	return s
}

func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, fmt.Sprint(e))
		}
		return out
	}
	return nil
}
