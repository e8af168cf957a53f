package applet

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// location is the shell's TZ: a name of the zone files, or POSIX's "CET-1"
// without the rules for summer.
func (c *call) location() *time.Location {
	tz := c.getenv("TZ")
	if tz == "" {
		return time.Local
	}
	if l, err := time.LoadLocation(strings.TrimPrefix(tz, ":")); err == nil {
		return l
	}
	name := strings.TrimRight(tz, "-+0123456789:")
	if h, err := strconv.Atoi(strings.TrimPrefix(tz[len(name):], "+")); err == nil {
		return time.FixedZone(name, -h*3600)
	}
	return time.UTC
}

func date(c *call) int {
	o := c.opts("ud:r:Rs:I", "utc=u", "date=d", "reference=r", "rfc-email=R", "set=s", "iso-8601=I")
	loc := c.location()
	if o.has('u') {
		loc = time.UTC
	}
	now := time.Now()
	if name, ok := o.last('r'); ok {
		fi, err := os.Stat(c.path(name))
		if err != nil {
			c.warnErr(name, err)
			return 1
		}
		now = fi.ModTime()
	}
	for _, f := range []byte("ds") {
		if s, ok := o.last(f); ok {
			t, err := parseDate(s, loc)
			if err != nil {
				c.die("%v", err)
			}
			now = t
		}
	}
	now = now.In(loc)
	if o.has('s') {
		tv := syscall.NsecToTimeval(now.UnixNano())
		if err := syscall.Settimeofday(&tv); err != nil {
			c.die("can't set date: %v", err)
		}
	}
	format := "%a %b %e %H:%M:%S %Z %Y"
	switch {
	case o.has('R'):
		format = "%a, %d %b %Y %H:%M:%S %z"
	case o.has('I'):
		format = "%Y-%m-%d"
	}
	if len(c.args) > 0 {
		if !strings.HasPrefix(c.args[0], "+") {
			c.die("invalid date '%s'", c.args[0])
		}
		format = c.args[0][1:]
	}
	c.print(strftime(format, now), "\n")
	return 0
}

func parseDate(s string, loc *time.Location) (time.Time, error) {
	if rest, ok := strings.CutPrefix(s, "@"); ok {
		sec, frac, _ := strings.Cut(rest, ".")
		n, err := strconv.ParseInt(sec, 10, 64)
		if err == nil {
			ns, _ := strconv.ParseInt((frac + "000000000")[:9], 10, 64)
			return time.Unix(n, ns), nil
		}
	}
	now := time.Now().In(loc)
	switch s {
	case "now", "":
		return now, nil
	case "today":
		return now, nil
	case "yesterday":
		return now.AddDate(0, 0, -1), nil
	case "tomorrow":
		return now.AddDate(0, 0, 1), nil
	}
	for _, f := range []string{time.RFC3339Nano, "2006-01-02 15:04:05 -0700", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02",
		"200601021504.05", "200601021504", "20060102", time.RFC1123Z, time.RFC1123, time.UnixDate, time.ANSIC} {
		if t, err := time.ParseInLocation(f, s, loc); err == nil {
			return t, nil
		}
	}
	for _, f := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(f, s, loc); err == nil {
			return time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, loc), nil
		}
	}
	return time.Time{}, fmt.Errorf("invalid date '%s'", s)
}

func strftime(format string, t time.Time) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		pad := byte(0)
		if strings.IndexByte("-_0", format[i]) >= 0 && i+1 < len(format) {
			pad = format[i]
			i++
		}
		digits := 0 // %3N
		for i+1 < len(format) && format[i] >= '1' && format[i] <= '9' {
			digits = int(format[i] - '0')
			i++
		}
		s := dateField(format[i], t)
		if format[i] == 'N' && digits > 0 {
			s = s[:digits]
		}
		switch {
		case pad == '-':
			if s = strings.TrimLeft(s, "0 "); s == "" {
				s = "0"
			}
		case pad == '_' && len(s) > 1 && s[0] == '0':
			s = " " + s[1:]
		case pad == '0':
			s = strings.ReplaceAll(s, " ", "0")
		}
		b.WriteString(s)
	}
	return b.String()
}

func dateField(f byte, t time.Time) string {
	two := func(n int) string { return fmt.Sprintf("%02d", n) }
	switch f {
	case 'Y':
		return strconv.Itoa(t.Year())
	case 'C':
		return two(t.Year() / 100)
	case 'y':
		return two(t.Year() % 100)
	case 'm':
		return two(int(t.Month()))
	case 'd':
		return two(t.Day())
	case 'e':
		return fmt.Sprintf("%2d", t.Day())
	case 'H':
		return two(t.Hour())
	case 'k':
		return fmt.Sprintf("%2d", t.Hour())
	case 'I':
		return two((t.Hour()+11)%12 + 1)
	case 'l':
		return fmt.Sprintf("%2d", (t.Hour()+11)%12+1)
	case 'M':
		return two(t.Minute())
	case 'S':
		return two(t.Second())
	case 'N':
		return fmt.Sprintf("%09d", t.Nanosecond())
	case 's':
		return strconv.FormatInt(t.Unix(), 10)
	case 'j':
		return fmt.Sprintf("%03d", t.YearDay())
	case 'u':
		return strconv.Itoa((int(t.Weekday())+6)%7 + 1)
	case 'w':
		return strconv.Itoa(int(t.Weekday()))
	case 'U':
		return two((t.YearDay() + 6 - int(t.Weekday())) / 7)
	case 'W':
		return two((t.YearDay() + 6 - (int(t.Weekday())+6)%7) / 7)
	case 'V':
		_, w := t.ISOWeek()
		return two(w)
	case 'G':
		y, _ := t.ISOWeek()
		return strconv.Itoa(y)
	case 'n':
		return "\n"
	case 't':
		return "\t"
	case '%':
		return "%"
	}
	return dateWords(f, t)
}

func dateWords(f byte, t time.Time) string {
	switch f {
	case 'a':
		return t.Format("Mon")
	case 'A':
		return t.Format("Monday")
	case 'b', 'h':
		return t.Format("Jan")
	case 'B':
		return t.Format("January")
	case 'p':
		return t.Format("PM")
	case 'P':
		return t.Format("pm")
	case 'Z':
		return t.Format("MST")
	case 'z':
		return t.Format("-0700")
	case 'F':
		return t.Format("2006-01-02")
	case 'T', 'X':
		return t.Format("15:04:05")
	case 'R':
		return t.Format("15:04")
	case 'r':
		return t.Format("03:04:05 PM")
	case 'D', 'x':
		return t.Format("01/02/06")
	case 'c':
		return t.Format("Mon Jan _2 15:04:05 2006")
	}
	return "%" + string(f)
}
