package argv

import (
	"errors"
	"reflect"
	"testing"
)

func TestParse(t *testing.T) {
	known := []Flag{
		{"interactive", 'i', Bool}, {"tty", 't', Bool}, {"rm", 0, Bool}, {"force", 'f', Bool},
		{"publish", 'p', String}, {"env", 'e', String}, {"name", 0, String}, {"time", 'n', Int},
		{"hostname", 'H', String},
	}
	for _, tc := range []struct {
		name    string
		mixed   bool
		args    []string
		flags   []string
		rest    []string
		failure string
	}{
		{"bundle", false, []string{"-it", "box", "-it"}, []string{"--interactive=true", "--tty=true"}, []string{"box", "-it"}, ""},
		{"bundle with value", false, []string{"-itp80:80", "box"}, []string{"--interactive=true", "--tty=true", "--publish=80:80"}, []string{"box"}, ""},
		{"attached", false, []string{"-eFOO=1,2", "box"}, []string{"--env=FOO=1,2"}, []string{"box"}, ""},
		{"attached with equals sign", false, []string{"-e=FOO", "box"}, []string{"--env=FOO"}, []string{"box"}, ""},
		{"a lone equals sign is a value", false, []string{"-e=", "box"}, []string{"--env=="}, []string{"box"}, ""},
		{"separate", false, []string{"-e", "A= x ", "--name", "c", "box"}, []string{"--env=A= x ", "--name=c"}, []string{"box"}, ""},
		{"value that looks like a flag", false, []string{"--name", "--rm", "box"}, []string{"--name=--rm"}, []string{"box"}, ""},
		{"boolean given", false, []string{"--rm=false", "-t=0", "box"}, []string{"--rm=false", "--tty=false"}, []string{"box"}, ""},
		{"empty value", false, []string{"--name=", "box"}, []string{"--name="}, []string{"box"}, ""},
		{"what follows the image passes", false, []string{"box", "--", "-e", "--nosuch"}, nil, []string{"box", "--", "-e", "--nosuch"}, ""},
		{"dashes before the image", false, []string{"--rm", "--", "-box", "-x"}, []string{"--rm=true"}, []string{"-box", "-x"}, ""},
		{"after operands", true, []string{"c1", "-f", "c2", "-n", "3"}, []string{"--force=true", "--time=3"}, []string{"c1", "c2"}, ""},
		{"dashes end flags", true, []string{"c1", "--", "-f"}, nil, []string{"c1", "-f"}, ""},
		{"a dash is an operand", true, []string{"-", "-f"}, []string{"--force=true"}, []string{"-"}, ""},
		{"negative number", true, []string{"-n", "-1"}, []string{"--time=-1"}, nil, ""},
		{"unknown", false, []string{"--foo"}, nil, nil, "unknown flag: --foo"},
		{"unknown with value", false, []string{"--foo=1"}, nil, nil, "unknown flag: --foo"},
		{"unknown shorthand", false, []string{"-itZ9", "x"}, nil, nil, "unknown shorthand flag: 'Z' in -Z9"},
		{"no value", false, []string{"--name"}, nil, nil, "flag needs an argument: --name"},
		{"no short value", false, []string{"-ie"}, nil, nil, "flag needs an argument: 'e' in -e"},
		{"bad boolean", false, []string{"--rm=maybe"}, nil, nil, `invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax`},
		{"bad number", true, []string{"-n", "abc"}, nil, nil, `invalid argument "abc" for "-n, --time" flag: strconv.ParseInt: parsing "abc": invalid syntax`},
		{"bad syntax", true, []string{"--=x"}, nil, nil, "bad flag syntax: --=x"},
		{"three dashes", true, []string{"---x"}, nil, nil, "bad flag syntax: ---x"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			flags, rest, err := Parse(known, tc.mixed, tc.args)
			if tc.failure != "" {
				if err == nil || err.Error() != tc.failure {
					t.Fatalf("error %v, want %s", err, tc.failure)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(flags, tc.flags) || len(rest)+len(tc.rest) > 0 && !reflect.DeepEqual(rest, tc.rest) {
				t.Errorf("got %q %q, want %q %q", flags, rest, tc.flags, tc.rest)
			}
		})
	}
	for _, args := range [][]string{{"--help"}, {"-h"}, {"-ih"}} {
		if _, _, err := Parse(known, true, args); !errors.Is(err, ErrHelp) {
			t.Errorf("%q: %v, want ErrHelp", args, err)
		}
	}
}
