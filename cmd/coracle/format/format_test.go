package format

import (
	"bytes"
	"strings"
	"testing"
)

type row struct{ ID, Names string }

func (row) Label(name string) string         { return "<" + name + ">" }
func (r row) TemplateMethod(name string) any { return labelOnly(name, r.Label) }

func TestWrite(t *testing.T) {
	list := List{Table: "{{.ID}}\t{{.Names}}", Header: Header{"ID": "CONTAINER ID", "Names": "NAMES"}}
	rows := []row{{"abc", "one"}, {"def", "a&b"}}
	for _, tc := range []struct{ name, format, quiet, want string }{
		{"usual table", "", "", "CONTAINER ID   NAMES\nabc            one\ndef            a&b\n"},
		{"table by name", "table", "", "CONTAINER ID   NAMES\nabc            one\ndef            a&b\n"},
		{"table of one's own", `table {{.Names}}\t{{upper .ID}}`, "", "NAMES     CONTAINER ID\none       ABC\na&b       DEF\n"},
		{"label", `table {{.Label "com.x.some-thing"}}`, "", "some thing\n<com.x.some-thing>\n<com.x.some-thing>\n"},
		{"json", "json", "", `{"ID":"abc","Names":"one"}` + "\n" + `{"ID":"def","Names":"a&b"}` + "\n"},
		{"quiet", "", "{{.ID}}", "abc\ndef\n"},
		{"quiet gives way", "{{.Names}}", "{{.ID}}", "one\na&b\n"},
		{"functions", `{{json .ID}} {{title "ab cd"}} {{lower "AB"}} {{pad "x" 1 2}}. {{truncate .ID 2}} {{join (split "a,b" ",") "+"}} {{println "z"}}`, "",
			"\"abc\" Ab Cd ab  x  . ab a+b z\n\n\"def\" Ab Cd ab  x  . de a+b z\n\n"},
		{"the template's own escapes", `{{"a\tb"}}\t{{.ID}}{{"\n"}}`, "", "a\tb\tabc\n\na\tb\tdef\n\n"},
		{"literal", `x\ty`, "", "x\ty\nx\ty\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := list
			l.Format, l.Quiet = tc.format, tc.quiet
			var b bytes.Buffer
			if err := Write(&b, l, rows); err != nil {
				t.Fatal(err)
			}
			if b.String() != tc.want {
				t.Errorf("got\n%q\nwant\n%q", b.String(), tc.want)
			}
		})
	}
	for format, want := range map[string]string{
		"{{.Foo":   "failed to parse template: template: :1: unclosed action",
		"{{.Foo}}": "can't evaluate field Foo",
	} {
		l := list
		l.Format = format
		if err := Write(&bytes.Buffer{}, l, rows); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", format, err)
		}
	}
}

func TestObjects(t *testing.T) {
	type object struct {
		ID    string `json:"Id"`
		State struct{ Pid int }
	}
	o := object{ID: "x"}
	o.State.Pid = 12345678
	for text, want := range map[string]string{
		"":                       "[\n    {\n        \"Id\": \"x\",\n        \"State\": {\n            \"Pid\": 12345678\n        }\n    }\n]\n",
		"{{.ID}} {{.State.Pid}}": "x 12345678\n",
		"{{.Id}} {{.State.Pid}}": "x 12345678\n",
		"json":                   `{"Id":"x","State":{"Pid":12345678}}` + "\n",
		"{{json .State}}":        `{"Pid":12345678}` + "\n",
	} {
		var b bytes.Buffer
		if err := Objects(&b, text, []any{o}); err != nil || b.String() != want {
			t.Errorf("%q: got %q, %v; want %q", text, b.String(), err, want)
		}
	}
	for text, want := range map[string]string{"{{.Nosuch}}": "Nosuch", "{{.ID": "template parsing error: "} {
		if err := Objects(&bytes.Buffer{}, text, []any{o}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	var b bytes.Buffer
	if err := Objects(&b, "", nil); err != nil || b.String() != "[]\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}
