package model_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"coracle/group/load"
	"coracle/group/model"

	"github.com/compose-spec/compose-go/v2/schema"
)

// elsewhere are attributes that no container's configuration shows, and who
// heeds them.
func elsewhere() map[string]string {
	return map[string]string{
		"attach": "up, in the foreground", "build": "group.needed refuses", "depends_on": "plan, act", "extends": "load",
		"post_start": "act.hooks", "pre_stop": "act.hooks", "profiles": "load", "scale": "plan", "pull_policy": "group.needed", "pull_refresh_after": "group.needed",
	}
}

// samples are values that a plain container does not have.
func samples(dir string) map[string]string {
	return map[string]string{
		"annotations": "{a: b}", "blkio_config": "{weight: 300}", "cap_add": "[NET_ADMIN]", "cap_drop": "[CHOWN]", "cgroup": "private", "cgroup_parent": "/x",
		"command": "[x]", "configs": "[c]", "container_name": "own", "cpu_period": "50000", "cpu_quota": "1000", "cpu_rt_period": "1000", "cpu_rt_runtime": "500",
		"cpu_shares": "5", "cpus": "0.5", "cpuset": "'0'", "deploy": "{resources: {limits: {pids: 3}}}", "device_cgroup_rules": "['c 1:3 mr']", "devices": "[/dev/null]",
		"dns": "192.0.2.1", "dns_opt": "[ndots:1]", "dns_search": "example.org", "domainname": "example.org", "entrypoint": "[y]",
		"env_file": "[{path: " + dir + "/env, required: true}, {path: " + dir + "/none, required: false}]", "environment": "{A: b}", "expose": "['99']",
		"external_links": "[away:near]", "extra_hosts": "{h: 192.0.2.3}", "group_add": "['5']", "healthcheck": "{test: [CMD, x], start_interval: 1s, start_period: 2s}",
		"hostname": "h", "image": "other", "init": "true", "ipc": "'service:other'", "label_file": "[" + dir + "/env]", "labels": "{l: m}", "links": "[other]",
		"logging": "{driver: none}", "mac_address": "'02:00:00:00:00:01'", "mem_limit": "8m", "mem_reservation": "6m", "mem_swappiness": "3", "memswap_limit": "9m",
		"network_mode": "none", "networks": "{n: {aliases: [z], ipv4_address: 192.0.2.9}}", "oom_kill_disable": "true", "oom_score_adj": "3", "pid": "'service:other'",
		"pids_limit": "9", "platform": "linux/arm64", "ports": "[{target: 80, published: '8080', host_ip: 127.0.0.1, name: web, app_protocol: http, mode: host}]",
		"privileged": "true", "read_only": "true", "restart": "'on-failure:3'", "runtime": "r", "secrets": "[s]", "security_opt": "[no-new-privileges]", "shm_size": "1m",
		"stdin_open": "true", "stop_grace_period": "3s", "stop_signal": "INT", "storage_opt": "{size: 1g}", "sysctls": "{net.core.somaxconn: 5}", "tmpfs": "['/t:size=1m,mode=700']",
		"tty": "true", "ulimits": "{nofile: {soft: 5, hard: 6}, nproc: 7}", "umask": "'022'", "user": "u", "userns_mode": "host", "uts": "host",
		"volumes":      "[{type: volume, source: data, target: /v, volume: {subpath: x, nocopy: true}}, {type: tmpfs, target: /tt, tmpfs: {size: 1m, mode: 0o700}}]",
		"volumes_from": "['other:ro']", "working_dir": "/w",
	}
}

// TestAttributes: each attribute of the schema is in the container that is made,
// or it is said who else heeds it, or that nobody does.
func TestAttributes(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(dir+"/env", []byte("FROM_FILE=1\n"), 0o644)
	draft := func(name, value string) string {
		text := "services:\n  a:\n    image: box\n  other: {image: box}\nnetworks: {n: {ipam: {config: [{subnet: 192.0.2.0/24}]}}}\nvolumes: {data: {}}\nsecrets: {s: {environment: HOME}}\nconfigs: {c: {content: x}}\n"
		if name != "" {
			text = fmt.Sprintf("services:\n  a:\n    %s: %s\n%s", name, value, map[bool]string{true: "", false: "    image: box\n"}[name == "image"]) + text[len("services:\n  a:\n    image: box\n"):]
		}
		path := filepath.Join(dir, "compose.yaml")
		os.WriteFile(path, []byte(text), 0o644)
		p, err := load.Load(context.Background(), load.Options{Files: []string{path}, Name: "shop"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s := p.Services["a"]
		d, err := model.Container(p, &s, model.Want{Number: 1, Refs: map[string]string{"other": "0123"}, Links: map[string][]string{"other": {"shop-other-1"}}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for l := range maps.Clone(d.Config.Labels) {
			if l == model.LabelHash || l == model.LabelDepends {
				delete(d.Config.Labels, l)
			}
		}
		data, err := json.Marshal([]any{d.Config, d.Host, d.Network, d.Inject, d.Name, d.Platform})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var root struct {
		Defs map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(schema.Schema), &root); err != nil {
		t.Fatal(err)
	}
	plain, values := draft("", ""), samples(dir)
	seen := 0
	for _, def := range []string{"container_spec", "service", "workload_spec"} {
		for _, name := range slices.Sorted(maps.Keys(root.Defs[def].Properties)) {
			seen++
			value, have := values[name]
			switch {
			case load.Unhonoured("services.*."+name) != "", elsewhere()[name] != "":
			case !have:
				t.Errorf("%s: nobody is known to heed it", name)
			case draft(name, value) == plain:
				t.Errorf("%s: %s changes nothing", name, value)
			}
		}
	}
	if seen < 80 {
		t.Errorf("only %d attributes in the schema", seen)
	}
}
