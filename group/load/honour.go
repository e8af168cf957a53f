package load

import (
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/tree"
)

// reasons are attributes that Compose knows and that nothing here honours, each
// with why.
var reasons = []struct{ path, why string }{
	{"services.*.develop", "nothing is watched"},
	{"services.*.pre_start", "hooks are run after the start and before the stop only"},
	{"services.*.credential_spec", "it is for Windows"},
	{"services.*.isolation", "it is for Windows"},
	{"services.*.cpu_count", "it is for Windows"},
	{"services.*.cpu_percent", "it is for Windows"},
	{"services.*.deploy.placement", "there is one machine"},
	{"services.*.deploy.endpoint_mode", "there is no swarm"},
	{"services.*.deploy.labels", "they are those of a swarm's service: a container's stand under labels"},
	{"services.*.deploy.rollback_config", "a rollback is as the update was"},
	{"services.*.deploy.resources.reservations.cpus", "nothing is kept free"},
	{"services.*.deploy.resources.reservations.pids", "nothing is kept free"},
	{"services.*.deploy.resources.reservations.generic_resources", "nothing serves it"},
	{"services.*.deploy.restart_policy.delay", "the time between two starts grows from 100 ms to a minute, as with Docker"},
	{"services.*.deploy.restart_policy.window", "a start that lasts ten seconds is taken for one that succeeded, as with Docker"},
	{"secrets.*.driver", "there is no swarm"},
	{"secrets.*.driver_opts", "there is no swarm"},
	{"secrets.*.template_driver", "there is no swarm"},
	{"configs.*.template_driver", "there is no swarm"},
	{"jobs", "no job is run: a service that ends is one, with restart: no"},
	{"services.*.provider", "no provider is run"},
	{"services.*.models", "no model is run"},
	{"services.*.use_api_socket", "there is no daemon"},
	{"services.*.gpus", "nothing serves it"},
	{"services.*.deploy.resources.reservations.devices", "nothing serves it"},
	{"models", "no model is run"},
}

func ignored() []loader.UnsupportedAttributePattern {
	list := make([]loader.UnsupportedAttributePattern, len(reasons))
	for i, r := range reasons {
		list[i].Path = tree.Path(r.path)
	}
	return list
}

func why(f loader.UnsupportedAttribute) string {
	for _, r := range reasons {
		if f.Path.Matches(tree.Path(r.path)) {
			return ": " + r.why
		}
	}
	return ""
}

// Unhonoured says why an attribute ("services.*.gpus") is not honoured; "" where it
// is, or parts of it are.
func Unhonoured(path string) string {
	for _, r := range reasons {
		if r.path == path {
			return r.why
		}
	}
	return ""
}

// Extension tells whether an attribute is the user's own.
func Extension(name string) bool { return strings.HasPrefix(name, "x-") }
