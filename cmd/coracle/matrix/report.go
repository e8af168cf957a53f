package matrix

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// Report is all that came of a run.
type Report struct {
	Image   string    `json:"image"`
	Command []string  `json:"command"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Results []Result  `json:"results"`
}

// Table prints one line a platform.
func (r *Report) Table(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprint(tw, "PLATFORM\tRUNS\tRUNG\tRESULT\tCODE\tTIME\n")
	for _, c := range r.Results {
		code, took := "-", "-"
		if c.ExitCode >= 0 {
			code = strconv.Itoa(c.ExitCode)
		}
		if !c.Started.IsZero() {
			took = fmt.Sprintf("%.1fs", c.Seconds)
		}
		result := c.Result
		if c.Result != Passed && c.Result != Failed {
			result += ": " + c.Why
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", c.Platform, c.Runs, c.Rung, result, code, took)
	}
	tw.Flush()
}

// JSON writes one document.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// JUnit writes the XML that CI systems read: one test case a platform. Its
// elements are those of Ant's JUnit task, which all of them take. What could
// not be started, or was stopped, is an error; what was not run is skipped.
func (r *Report) JUnit(w io.Writer) error {
	var failures, errs, skipped int
	for _, c := range r.Results {
		switch c.Result {
		case Passed:
		case Failed:
			failures++
		case NotRun:
			skipped++
		default:
			errs++
		}
	}
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="UTF-8"?>` + "\n")
	name := xmlText(r.Image)
	counts := fmt.Sprintf(`tests="%d" failures="%d" errors="%d" skipped="%d" time="%.3f"`, len(r.Results), failures, errs, skipped, r.Seconds)
	fmt.Fprintf(&b, "<testsuites name=\"coracle matrix\" %s>\n", counts)
	fmt.Fprintf(&b, "  <testsuite name=\"%s\" %s timestamp=\"%s\">\n", name, counts, r.Started.UTC().Format("2006-01-02T15:04:05"))
	for _, c := range r.Results {
		fmt.Fprintf(&b, "    <testcase classname=\"%s\" name=\"%s\" time=\"%.3f\">\n", name, xmlText(c.Platform), c.Seconds)
		element := "error"
		switch c.Result {
		case Passed:
			element = ""
		case Failed:
			element = "failure"
		case NotRun:
			element = "skipped"
		}
		if element != "" {
			fmt.Fprintf(&b, "      <%s type=\"%s\" message=\"%s\"></%s>\n", element, xmlText(c.Result), xmlText(c.Why), element)
		}
		fmt.Fprintf(&b, "      <system-out>%s</system-out>\n      <system-err>%s</system-err>\n", xmlText(c.Stdout), xmlText(c.Stderr))
		b.WriteString("    </testcase>\n")
	}
	b.WriteString("  </testsuite>\n</testsuites>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// xmlText makes any bytes text or an attribute of XML 1.0 (its production 2,
// Char, has no control characters): those become their pictures, U+2400 on, and
// what is no UTF-8 the replacement character.
func xmlText(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '&':
			b.WriteString("&amp;")
		case c == '<':
			b.WriteString("&lt;")
		case c == '>':
			b.WriteString("&gt;")
		case c == '"':
			b.WriteString("&quot;")
		case c == '\n' || c == '\t' || c == '\r':
			fmt.Fprintf(&b, "&#%d;", c)
		case c < 0x20:
			b.WriteRune(0x2400 + c)
		case c == 0xfffe || c == 0xffff:
			b.WriteRune(utf8.RuneError)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}
