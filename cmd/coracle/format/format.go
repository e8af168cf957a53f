// Package format prints rows and objects as Docker's --format does: as a
// table, as JSON, or by a Go template with Docker's functions.
package format

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"text/template"
	"unicode"
)

// TemplateError says that a template cannot be read or does not fit.
type TemplateError struct{ Err error }

func (e *TemplateError) Error() string { return "template parsing error: " + e.Err.Error() }
func (e *TemplateError) Unwrap() error { return e.Err }

func functions() template.FuncMap {
	return template.FuncMap{
		"json":     JSON,
		"split":    strings.Split,
		"join":     strings.Join,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": truncate,
	}
}

// headerFunctions leave the header's words as they are: a column whose values
// are passed through a function keeps its heading.
func headerFunctions() template.FuncMap {
	same := func(v string) string { return v }
	return template.FuncMap{
		"json": same, "title": same, "lower": same, "upper": same,
		"truncate": func(v string, _ int) string { return v },
		"split":    func(v, _ string) []string { return []string{v} },
		"join": func(v any, _ string) string {
			if list, ok := v.([]string); ok {
				return strings.Join(list, "")
			}
			return fmt.Sprint(v)
		},
	}
}

// JSON is v on one line, with < and & as they are.
func JSON(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

func title(s string) string {
	r := []rune(s)
	for i := range r {
		if i == 0 || unicode.IsSpace(r[i-1]) {
			r[i] = unicode.ToTitle(r[i])
		}
	}
	return string(r)
}

func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
}

func truncate(s string, n int) string {
	r := []rune(s)
	if n < 0 || n >= len(r) {
		return s
	}
	return string(r[:n])
}

// Template reads text as a template; name appears in messages.
func Template(name, text string) (*template.Template, error) {
	t, err := template.New(name).Funcs(functions()).Parse(unescape(text))
	if err != nil {
		return nil, &TemplateError{err}
	}
	return t, nil
}

// unescape makes the two escapes that shells leave alone, but within {{ }}, where
// they are the template's own.
func unescape(s string) string {
	var b strings.Builder
	escapes := strings.NewReplacer(`\t`, "\t", `\n`, "\n")
	for s != "" {
		text, rest, found := strings.Cut(s, "{{")
		b.WriteString(escapes.Replace(text))
		if !found {
			break
		}
		action, after, closed := strings.Cut(rest, "}}")
		b.WriteString("{{" + action)
		if closed {
			b.WriteString("}}")
		}
		s = after
	}
	return b.String()
}

// Header gives each field's heading. Label names a label's column after the
// last part of the label.
type Header map[string]string

// Label is the heading of {{.Label "com.example.some-thing"}}: "some thing".
func (Header) Label(name string) string {
	parts := strings.Split(name, ".")
	return strings.NewReplacer("-", " ", "_", " ").Replace(parts[len(parts)-1])
}

// TemplateMethod is the methods that a template may call.
func (h Header) TemplateMethod(name string) any { return labelOnly(name, h.Label) }

// labelOnly is what package internal/slim makes of templates' methods: nil, or
// the function by that name.
func labelOnly(name string, label func(string) string) any {
	if name == "Label" {
		return label
	}
	return nil
}

// List says how rows are printed.
type List struct {
	Format string // "", "table", "table TEMPLATE", "json" or a template
	Quiet  string // with -q: the template of a row, unless Format says more
	Table  string // the template of the usual table, without the word "table"
	Header Header
	Width  int // of a column, at least; 0 is that of most tables
}

// Write prints rows, each of which is a struct.
func Write[T any](w io.Writer, l List, rows []T) error {
	text, table := l.Format, false
	rest, isTable := strings.CutPrefix(text, "table")
	switch {
	case l.Quiet != "" && (text == "" || isTable):
		text = l.Quiet
	case text == "json":
		text = "{{json .}}"
	case text == "" || isTable && strings.TrimSpace(rest) == "":
		text, table = l.Table, true
	case isTable:
		text, table = strings.TrimSpace(rest), true
	}
	t, err := template.New("").Funcs(functions()).Parse(unescape(text))
	if err != nil {
		return fmt.Errorf("failed to parse template: %w", err)
	}
	if !table {
		for _, row := range rows {
			if err := line(w, t, row); err != nil {
				return err
			}
		}
		return nil
	}
	// It writes cell by cell.
	var page bytes.Buffer
	tw := tabwriter.NewWriter(&page, cmp.Or(l.Width, 10), 1, 3, ' ', 0)
	head, err := template.New("").Funcs(functions()).Funcs(headerFunctions()).Parse(unescape(text))
	if err != nil {
		return fmt.Errorf("failed to parse template: %w", err)
	}
	if err := line(tw, head, l.Header); err != nil {
		return err
	}
	for _, row := range rows {
		if err := line(tw, t, row); err != nil {
			return err
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	_, err = w.Write(page.Bytes())
	return err
}

// line prints one row whole or not at all.
func line(w io.Writer, t *template.Template, row any) error {
	var b bytes.Buffer
	if err := t.Execute(&b, row); err != nil {
		return fmt.Errorf("failed to execute template: %w", err)
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// Objects prints each of objects by a template, one a line, or, without one,
// all as a JSON array. A template is tried on the object's Go names first and
// then on its JSON names, as docker inspect does.
func Objects(w io.Writer, text string, objects []any) error {
	switch text {
	case "":
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "    ")
		if objects == nil {
			objects = []any{}
		}
		if err := enc.Encode(objects); err != nil {
			return err
		}
		_, err := w.Write(b.Bytes())
		return err
	case "json":
		text = "{{json .}}"
	}
	t, err := Template("", text)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := object(w, t, o); err != nil {
			return err
		}
	}
	return nil
}

// object executes t on o, or on what o's JSON holds.
func object(w io.Writer, t *template.Template, o any) error {
	var b bytes.Buffer
	err := t.Execute(&b, o)
	if err != nil {
		var raw any
		dec := json.NewDecoder(strings.NewReader(JSON(o)))
		dec.UseNumber()
		if dec.Decode(&raw) != nil {
			return &TemplateError{err}
		}
		b.Reset()
		t2, _ := t.Clone()
		if err := t2.Option("missingkey=error").Execute(&b, raw); err != nil {
			return &TemplateError{err}
		}
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}
