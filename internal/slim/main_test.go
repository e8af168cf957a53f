package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// program has a method that it offers, one that it does not offer, and a field.
const program = `package main

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"regexp"
	"sync"
	"text/template"
)

var (
	words = regexp.MustCompile("(?P<first>[a-z]+) ([a-z]+)")
	table = crc32.MakeTable(crc32.Castagnoli)
)

type boat struct{ Sail string }

type Hull struct{ Beam, Draft int }

type fleet struct {
	*Hull
	Name  string            ` + "`json:\"name,omitempty\"`" + `
	Ships []*fleet          ` + "`json:\",omitempty\"`" + `
	Any   any
	Err   error             ` + "`json:\"-\"`" + `
	Tags  map[string]boat   ` + "`json:\",omitempty\"`" + `
	Count int               ` + "`json:\",string\"`" + `
	Deep  struct{ In *int } ` + "`json:\",omitzero\"`" + `
	Text  json.Number
}

func (b boat) Oars() int  { return 2 }
func (b boat) Sink() bool { return true }
func (b boat) TemplateMethod(name string) any {
	if name == "Oars" {
		return b.Oars
	}
	return nil
}

func main() {
	for _, text := range []string{"{{.Sail}} {{.Oars}}\n", "{{.Sink}}"} {
		if err := template.Must(template.New("t").Parse(text)).Execute(os.Stdout, boat{"red"}); err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println()
	// The check value of https://reveng.sourceforge.io/crc-catalogue/17plus.htm#crc.cat.crc-32-iscsi
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			h := crc32.New(table)
			h.Write([]byte("123456789"))
			if crc32.Checksum([]byte("123456789"), table) != 0xe3069283 || h.Sum32() != 0xe3069283 || table[1] != 0xf26b8303 || !words.MatchString("a b") {
				fmt.Println("wrong sum")
			}
		})
	}
	wait.Wait()
	one := 1
	f := fleet{Hull: &Hull{1, 2}, Name: "<a>", Any: []any{1, boat{"s"}, nil}, Tags: map[string]boat{"t": {"u"}}, Count: 7, Text: "12.5"}
	f.Ships = []*fleet{{Deep: struct{ In *int }{&one}}, nil}
	text, err := json.Marshal(f)
	fmt.Println(string(text), err)
	var back fleet
	err = json.Unmarshal(text, &back)
	again, _ := json.Marshal(&back)
	fmt.Println(string(again) == string(text), err)
	_, err = json.Marshal(struct{ C chan int }{})
	fmt.Println(err)
	fmt.Println(crc32.ChecksumIEEE([]byte("123456789")) == 0xcbf43926, crc32.Checksum([]byte("123456789"), crc32.MakeTable(crc32.Koopman)) == 0x2d3dd0ae)
	fmt.Println(words, words.NumSubexp(), words.SubexpNames(), words.SubexpIndex("first"), words.FindStringSubmatch("red boat"), words.ReplaceAllString("red boat", "$2 $first"))
	long := regexp.MustCompile("a|ab")
	long.Longest()
	fmt.Println(long.FindString("abc"), regexp.MustCompile("a|ab").FindString("abc"), long.Copy().FindString("abc"))
	text, err = regexp.MustCompile("x+").MarshalText()
	fmt.Println(string(text), err)
	defer func() { fmt.Println(recover()) }()
	regexp.MustCompile("(").MatchString("")
}
`

// printed is what both builds of program say of JSON, expressions and sums.
const printed = `{"Beam":1,"Draft":2,"name":"\u003ca\u003e","Ships":[{"Any":null,"Count":"0","Deep":{"In":1},"Text":0},null],"Any":[1,{"Sail":"s"},null],"Tags":{"t":{"Sail":"u"}},"Count":"7","Text":12.5}` + " <nil>\n" +
	"true <nil>\n" +
	"json: unsupported type: chan int\n" +
	"true true\n" +
	"(?P<first>[a-z]+) ([a-z]+) 2 [ first ] 1 [red boat red boat] boat red\n" +
	"ab a ab\n" +
	"x+ <nil>\n" +
	"regexp: Compile(`(`): error parsing regexp: missing closing ): `(`\n"

func TestOverlay(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": program, "go.mod": "module boat\n\ngo 1.24\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := write(filepath.Join(dir, "slim")); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		cmd := exec.Command("go", append(append([]string{"run"}, args...), ".")...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go run %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if got := run(); got != "red 2\ntrue\n"+printed {
		t.Errorf("without the overlay: %q", got)
	}
	got := run("-overlay", filepath.Join(dir, "slim", "overlay.json"))
	if !strings.HasPrefix(got, "red 2\n") || !strings.Contains(got, "can't evaluate field Sink") || !strings.HasSuffix(got, printed) {
		t.Errorf("with the overlay: %q", got)
	}
}

func TestUnknownSource(t *testing.T) {
	for _, e := range edits {
		for _, text := range []string{"", "package template", "ptr.MethodByName(fieldName) ptr.MethodByName(fieldName)", "type Regexp struct {\n\tregexp, err := Compile(str)\n"} {
			if got, err := e.change(text); err == nil {
				t.Errorf("%s: %q was changed to %q", e.file, text, got)
			}
		}
	}
}
