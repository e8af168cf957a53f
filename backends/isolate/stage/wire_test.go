package stage

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// filled sets every field that can be reached from v, each to another value, so
// that no two can be taken for each other.
func filled(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(-*n) % 100)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n) % 200)
	case reflect.String:
		v.SetString("text " + strconv.Itoa(*n))
	case reflect.Struct:
		for i := range v.NumField() {
			filled(v.Field(i), n)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		filled(v.Index(0), n)
		filled(v.Index(1), n)
	case reflect.Map:
		key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		filled(key, n)
		filled(elem, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, elem)
	}
}

// TestConfigArrives sends a configuration in which nothing is left at zero, and
// one in which everything is.
func TestConfigArrives(t *testing.T) {
	full, count := Config{}, 0
	filled(reflect.ValueOf(&full).Elem(), &count)
	if count < 500 {
		t.Fatalf("only %d values were set", count)
	}
	full.Inside = false
	full.Process.Env = []string{strings.Repeat("x", 1<<20)}
	full.Seccomp = []byte{0, 255, 0}
	full.GroupAdd = []string{}
	inside := Config{Inside: true, User: "me", Process: full.Process, Seccomp: full.Seccomp}
	for _, want := range []Config{full, {}, inside} {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
		sent := make(chan error, 1)
		go func() {
			sent <- Send(ours, &want)
			ours.Close()
		}()
		got, err := receive(theirs)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("sent and received differ:\n%+v\n%+v", want, *got)
		}
		theirs.Close()
	}
}

// TestDamagedConfig cuts a configuration short everywhere, and changes each of
// its bytes: an error or another configuration, and never a panic.
func TestDamagedConfig(t *testing.T) {
	c, count := Config{}, 0
	filled(reflect.ValueOf(&c).Elem(), &count)
	data, err := encode(nil, reflect.ValueOf(&c).Elem())
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if _, err := decode(data[:i], reflect.ValueOf(new(Config)).Elem()); err == nil {
			t.Fatalf("%d of %d bytes were taken for a configuration", i, len(data))
		}
	}
	for i := range data {
		bad := append([]byte(nil), data...)
		bad[i] ^= 0xff
		_, _ = decode(bad, reflect.ValueOf(new(Config)).Elem())
	}
}

// TestOtherVersion is a configuration of a binary whose struct has a field more.
func TestOtherVersion(t *testing.T) {
	type newer struct{ A, B string }
	type older struct{ A string }
	data, err := encode(nil, reflect.ValueOf(newer{"a", "b"}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decode(data, reflect.ValueOf(new(older)).Elem()); err == nil {
		t.Error("taken")
	}
	if _, err := encode(nil, reflect.ValueOf(struct{ F func() }{})); err == nil {
		t.Error("a function was encoded")
	}
}
