package change

import (
	"encoding/json"
	"errors"
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
)

func TestApply(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{[]string{`CMD ["a", "b c"]`}, `{"Cmd":["a","b c"]}`},
		{[]string{`cmd a "b"`}, `{"Cmd":["/bin/sh","-c","a \"b\""]}`},
		{[]string{`ENTRYPOINT [bad`}, `{"Entrypoint":["/bin/sh","-c","[bad"]}`},
		{[]string{"ENV A one two", "ENV B=$A C=${A:-x} D=${N:-y} E='$A' F=\\$A", "ENV A=3"},
			`{"Env":["A=3","B=one two","C=one two","D=y","E=$A","F=$A"]}`},
		{[]string{"EXPOSE 80 443/TCP 5-6/udp"}, `{"ExposedPorts":{"443/tcp":{},"5/udp":{},"6/udp":{},"80/tcp":{}}}`},
		{[]string{"WORKDIR /a", "WORKDIR b/../c"}, `{"WorkingDir":"/a/c"}`},
		{[]string{"STOPSIGNAL SIGINT", "USER 1:2", "ONBUILD RUN x"}, `{"User":"1:2","StopSignal":"SIGINT","OnBuild":["RUN x"]}`},
		{[]string{`VOLUME ["/a b"]`, "VOLUME /c"}, `{"Volumes":{"/a b":{},"/c":{}}}`},
		{[]string{"HEALTHCHECK --timeout=2s CMD [\"x\"]"}, `{"Healthcheck":{"Test":["CMD","x"],"Timeout":2000000000}}`},
		{[]string{"HEALTHCHECK NONE"}, `{"Healthcheck":{"Test":["NONE"]}}`},
		{[]string{`LABEL "a b"="c" d=`}, `{"Labels":{"a b":"c","d":""}}`},
	} {
		var got dockerspec.DockerOCIImageConfig
		for _, l := range c.lines {
			if err := Apply(&got, l); err != nil {
				t.Errorf("%s: %v", l, err)
			}
		}
		b, err := json.Marshal(got)
		if err != nil || string(b) != c.want {
			t.Errorf("%q: %s, want %s", c.lines, b, c.want)
		}
	}
}

func TestApplyRefuses(t *testing.T) {
	for _, l := range []string{"", "RUN x", "FROM x", "ENV", "ENV A", "ENV A=1 B", "ENV =x", "EXPOSE x", "EXPOSE 70000", "EXPOSE 9-8", "EXPOSE 1/icmp",
		"LABEL a='b", "HEALTHCHECK", "HEALTHCHECK x", "HEALTHCHECK CMD", "HEALTHCHECK --interval=x CMD y", "HEALTHCHECK --retries=-1 CMD y", "USER ${A", "VOLUME",
		"STOPSIGNAL BOGUS", "ONBUILD ONBUILD RUN x", "ONBUILD from x", "onbuild maintainer x"} {
		var c dockerspec.DockerOCIImageConfig
		if err := Apply(&c, l); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", l, err)
		}
	}
}

func FuzzApply(f *testing.F) {
	for _, s := range []string{"ENV A=${B:-${C:+\"x\"}} D", "EXPOSE 1-65535/udp", "LABEL 'a'=\\", "HEALTHCHECK --a CMD [", "VOLUME [\"\"]", "USER $"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := dockerspec.DockerOCIImageConfig{}
		c.Env = []string{"A=b"}
		Apply(&c, s) // must not panic
	})
}
