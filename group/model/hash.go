package model

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/opencontainers/go-digest"
)

// hashed are the attributes of a service in the order in which docker compose
// 2.40 writes them before it takes the digest. Newer versions of compose-go
// write them in another order, which would have each tool make the other's
// containers anew.
func hashed() []string {
	return []string{
		"annotations", "attach", "develop", "blkio_config", "cap_add", "cap_drop", "cgroup_parent", "cgroup",
		"cpu_count", "cpu_percent", "cpu_period", "cpu_quota", "cpu_rt_period", "cpu_rt_runtime", "cpus", "cpuset", "cpu_shares",
		"command", "configs", "container_name", "credential_spec", "deploy", "device_cgroup_rules", "devices", "dns", "dns_opt",
		"dns_search", "dockerfile", "domainname", "entrypoint", "provider", "environment", "env_file", "expose", "extends",
		"external_links", "extra_hosts", "group_add", "gpus", "hostname", "healthcheck", "image", "init", "ipc", "isolation",
		"labels", "label_file", "links", "logging", "log_driver", "log_opt", "mem_limit", "mem_reservation", "memswap_limit",
		"mem_swappiness", "mac_address", "models", "net", "network_mode", "networks", "oom_kill_disable", "oom_score_adj", "pid",
		"pids_limit", "platform", "ports", "privileged", "read_only", "restart", "runtime", "secrets", "security_opt", "shm_size",
		"stdin_open", "stop_grace_period", "stop_signal", "storage_opt", "sysctls", "tmpfs", "tty", "ulimits", "use_api_socket",
		"user", "userns_mode", "uts", "volume_driver", "volumes", "volumes_from", "working_dir", "post_start", "pre_stop",
	}
}

// Hash is the digest of a service's configuration, without what a container
// does not depend on.
func Hash(s *types.ServiceConfig) (string, error) {
	c := *s
	c.Build, c.PullPolicy, c.PullRefreshAfter, c.Scale, c.DependsOn, c.Profiles = nil, "", "", nil, nil, nil
	if c.Deploy != nil {
		d := *c.Deploy
		d.Replicas = nil
		c.Deploy = &d
	}
	data, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return "", err
	}
	order := hashed()
	for name := range fields {
		if !slices.Contains(order, name) {
			order = append(order, name)
		}
	}
	slices.Sort(order[len(hashed()):])
	var b bytes.Buffer
	for _, name := range order {
		if v, ok := fields[name]; ok {
			b.WriteString(map[bool]string{true: "{", false: ","}[b.Len() == 0])
			b.WriteString(`"` + name + `":`)
			b.Write(v)
		}
	}
	b.WriteString("}")
	return digest.FromBytes(b.Bytes()).Encoded(), nil
}

// NetworkHash is the digest by which docker compose knows a network again.
func NetworkHash(n types.NetworkConfig) string { return digestOf(n) }

func digestOf(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "" // of structures that were read from text
	}
	return digest.FromBytes(data).Encoded()
}

// VolumeHash is a volume's, with the driver written out.
func VolumeHash(v types.VolumeConfig) string {
	if v.Driver == "" {
		v.Driver = "local"
	}
	return digestOf(v)
}
