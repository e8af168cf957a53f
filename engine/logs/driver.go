package logs

import (
	"fmt"
	"io"
	"maps"
	"strconv"
	"strings"
	"time"

	"coracle/engine/logs/journald"
	"coracle/engine/logs/syslog"
	"coracle/engine/logs/tag"

	"github.com/docker/go-units"
	"github.com/moby/moby/api/types/container"
)

// Info is what a log is told of its container.
type Info = tag.Info

// Sink is where a container's output goes.
type Sink interface {
	Stdout() io.Writer
	Stderr() io.Writer
	// Close writes what waits, within bounds, and returns how many bytes were
	// lost, and why the last of them.
	Close() (dropped int64, err error)
}

// defaultTag is the tag of remote drivers.
const defaultTag = "{{.ID}}"

// defaultBuffer is max-buffer-size, bytes.
const defaultBuffer = 1 << 20

// Valid refuses drivers and options that do not exist, in Docker's words.
func Valid(c container.LogConfig) error {
	if _, err := template(c); err != nil {
		return err
	}
	switch c.Type {
	case "json-file", "local", "none":
		_, err := ParseOptions(c.Type, c.Config)
		return err
	case "syslog":
		_, err := syslog.New(c.Config, "")
		return err
	case "journald":
		return nil
	}
	return fmt.Errorf("error looking up logging plugin %s: plugin %q not found", c.Type, c.Type)
}

// template checks the names of the options and the tag.
func template(c container.LogConfig) (string, error) {
	known := "mode max-buffer-size "
	switch c.Type {
	case "json-file":
		known += "max-size max-file compress labels labels-regex env env-regex tag"
	case "local":
		known += "max-size max-file compress"
	case "syslog":
		known += cacheOptions + "syslog-address syslog-facility syslog-format syslog-tls-ca-cert syslog-tls-cert syslog-tls-key syslog-tls-skip-verify labels labels-regex env env-regex tag"
	case "journald":
		known += cacheOptions + "labels labels-regex env env-regex tag"
	default:
		return "", nil
	}
	words := strings.Fields(known)
next:
	for key := range c.Config {
		for _, w := range words {
			if key == w {
				continue next
			}
		}
		if c.Type == "local" {
			return "", fmt.Errorf("unknown log opt '%s' for log driver %s", key, c.Type) // its own words
		}
		return "", fmt.Errorf("unknown log opt '%s' for %s log driver", key, c.Type)
	}
	if _, _, err := mode(c.Config); err != nil {
		return "", err
	}
	i := &tag.Info{Config: c.Config}
	if _, err := tag.Attributes(i, nil); err != nil {
		return "", err
	}
	return tag.Make(i, defaultTag)
}

const cacheOptions = "cache-disabled cache-max-size cache-max-file cache-compress "

func mode(o map[string]string) (nonBlocking bool, buffer int64, err error) {
	switch o["mode"] {
	case "", "blocking":
	case "non-blocking":
		nonBlocking, buffer = true, defaultBuffer
	default:
		return false, 0, fmt.Errorf("logger: logging mode not supported: %s", o["mode"])
	}
	size, given := o["max-buffer-size"]
	if !given {
		return nonBlocking, buffer, nil
	}
	if !nonBlocking {
		return false, 0, fmt.Errorf("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	}
	if buffer, err = units.RAMInBytes(size); err != nil || buffer <= 0 {
		return false, 0, fmt.Errorf("error parsing option max-buffer-size: invalid size: '%s'", size)
	}
	return true, buffer, nil
}

// ParseOptions reads the options of a log in files.
func ParseOptions(driver string, m map[string]string) (Options, error) {
	o := Options{MaxSize: DefaultSize, MaxFiles: DefaultFiles, Compress: driver == "local"}
	for key, v := range m {
		switch key {
		case "max-size":
			n, err := units.RAMInBytes(v)
			if err != nil || n == 0 || n < -1 {
				return o, fmt.Errorf("invalid value for log-opt max-size: %q", v)
			}
			o.MaxSize = n
		case "max-file":
			n, err := strconv.Atoi(v)
			if err != nil || n < 1 {
				return o, fmt.Errorf("max-file cannot be less than 1: %q", v)
			}
			o.MaxFiles = n
		case "compress":
			b, err := strconv.ParseBool(v)
			if err != nil {
				return o, fmt.Errorf("error parsing option compress: %q", v)
			}
			o.Compress = b
		case "mode", "max-buffer-size", "labels", "labels-regex", "env", "env-regex", "tag":
		default:
			return o, fmt.Errorf("unknown log opt '%s' for %s log driver", key, driver)
		}
	}
	var err error
	o.NonBlocking, o.Buffer, err = mode(m)
	return o, err
}

// Start opens the log that c asks for; path is where files of it are kept. nil
// is none. What cannot be reached now is tried again with each line.
func Start(path string, c container.LogConfig, i *Info, warn func(string)) (Sink, error) {
	i.Config = c.Config
	switch c.Type {
	case "none":
		return nil, nil
	case "json-file", "local":
		o, err := ParseOptions(c.Type, c.Config)
		if err != nil {
			return nil, err
		}
		if o.Attrs, err = attributes(c, i); err != nil {
			return nil, err
		}
		return opened(Open(path, o))
	}
	far, err := remote(c, i, warn)
	if err != nil {
		return nil, err
	}
	copied, err := cache(path, c.Config)
	if err != nil {
		warn("no copy of the log is kept: " + err.Error())
	}
	if copied == nil {
		return far, nil
	}
	return both{far, copied}, nil
}

// opened keeps a nil writer from becoming a sink that is not nil.
func opened(w *Writer, err error) (Sink, error) {
	if err != nil {
		return nil, err
	}
	return w, nil
}

// attributes are those of each line in a file.
func attributes(c container.LogConfig, i *tag.Info) (map[string]string, error) {
	m, err := tag.Attributes(i, nil)
	if err == nil && c.Config["tag"] != "" {
		m["tag"], err = tag.Make(i, "")
	}
	return m, err
}

// cache is the copy that `logs` reads of a log that goes elsewhere.
func cache(path string, o map[string]string) (*Writer, error) {
	if off, _ := strconv.ParseBool(o["cache-disabled"]); off {
		return nil, nil
	}
	own := map[string]string{"mode": "non-blocking"}
	for key, v := range o {
		if key, ok := strings.CutPrefix(key, "cache-"); ok && key != "disabled" {
			own[key] = v
		}
	}
	opt, err := ParseOptions("local", own)
	if err != nil {
		return nil, err
	}
	return Open(path, opt)
}

// Readable tells whether a container's log can be read back.
func Readable(c container.LogConfig) bool {
	off, _ := strconv.ParseBool(c.Config["cache-disabled"])
	return c.Type != "none" && (!off || c.Type == "json-file" || c.Type == "local")
}

// remote is the log that goes to a server.
func remote(c container.LogConfig, i *Info, warn func(string)) (*Writer, error) {
	name, err := tag.Make(i, defaultTag)
	if err != nil {
		return nil, err
	}
	f := &far{}
	var connect func() error
	if c.Type == "journald" {
		fields, err := tag.Attributes(i, journald.FieldName)
		if err != nil {
			return nil, err
		}
		maps.Copy(fields, map[string]string{
			"CONTAINER_ID": i.ID(), "CONTAINER_ID_FULL": i.ContainerID, "CONTAINER_NAME": i.Name(), "CONTAINER_TAG": name,
			"IMAGE_NAME": i.ContainerImageName, "SYSLOG_IDENTIFIER": name,
		})
		j := journald.New(journalSocket(), fields)
		f.send, f.end, connect = j.Send, j.Close, j.Connect
	} else {
		s, err := syslog.New(c.Config, name)
		if err != nil {
			return nil, err
		}
		f.send = func(stderr bool, at time.Time, line []byte, _ bool) error { return s.Send(stderr, at, line) }
		f.end, connect = s.Close, s.Connect
	}
	o := Options{}
	if o.NonBlocking, o.Buffer, err = mode(c.Config); err != nil {
		return nil, err
	}
	tried := make(chan error, 1)
	f.begin = func() { tried <- connect() }
	wait, room := o.wait()
	w := newWriter(f, wait, room)
	select {
	case err := <-tried:
		if err != nil {
			warn("log driver " + c.Type + ": " + err.Error() + "; it is tried again with each line")
		}
	case <-time.After(reach):
		warn("log driver " + c.Type + ": no answer yet; it is waited for beside the container")
	}
	return w, nil
}

// reach is how long the start of a container waits to say that its log's server
// does not answer.
const reach = 200 * time.Millisecond

// far is a log that goes to a server, line by line.
type far struct {
	send  func(stderr bool, at time.Time, line []byte, partial bool) error
	begin func()
	end   func()
	lost  int64
	err   error
}

var _ target = (*far)(nil)

func (f *far) line(stream byte, at time.Time, p []byte, more bool) {
	if err := f.send(stream == 1, at, p, more); err != nil {
		f.lost += int64(len(p))
		f.err = err
	}
}

func (f *far) flush() (int64, error) {
	lost, err := f.lost, f.err
	f.lost, f.err = 0, nil
	return lost, err
}

func (f *far) open()  { f.begin() }
func (f *far) close() { f.end() }

// both is a log that goes to a server and is kept too.
type both struct{ far, kept *Writer }

var _ Sink = both{}

func (b both) Stdout() io.Writer { return io.MultiWriter(b.kept.Stdout(), b.far.Stdout()) }
func (b both) Stderr() io.Writer { return io.MultiWriter(b.kept.Stderr(), b.far.Stderr()) }

func (b both) Close() (int64, error) {
	b.kept.Close()
	return b.far.Close()
}
