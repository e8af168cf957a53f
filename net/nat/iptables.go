package nat

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// IPTables puts rules by the iptables program, and ip6tables for IPv6, in chains
// of our own: what is put into the host's chains is jumps to ours.
type IPTables struct{}

var _ Firewall = IPTables{}

func networkChain(id string) string   { return "CORACLE-N-" + short(id) }
func passChain(id string) string      { return "CORACLE-P-" + short(id) }
func containerChain(id string) string { return "CORACLE-C-" + short(id) }

// program finds one of iptables' programs, also where the caller's PATH lacks
// the administrator's directories.
func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if _, e := os.Stat(dir + name); e == nil {
			return dir + name, nil
		}
	}
	return "", err
}

func family(v6 bool) string {
	if v6 {
		return "ip6tables"
	}
	return "iptables"
}

// call runs the program; input is for its -restore.
func call(name, input string, args ...string) error {
	path, err := program(name)
	if err != nil {
		return err
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(out.String())
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, text)
	}
	return nil
}

// one runs one iptables command, and waits for others' where it knows how to
// (-w came with 1.4.20).
func one(v6 bool, args ...string) error {
	err := call(family(v6), "", append([]string{"-w"}, args...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		err = call(family(v6), "", args...)
	}
	return err
}

// jump is what leads from a chain of the host's to ours.
type jump struct {
	table, from string
	match       []string
	first       bool // before what the host has
}

// chain is one of ours with what is in it, and what leads there.
type chain struct {
	name  string
	rules map[string][]string // by table
	jumps []jump
}

// put makes the chain anew. The rules are changed by one command, so that the
// chain is the old one or the new one.
func (c *chain) put(v6 bool) error {
	for table, rules := range c.rules {
		var b strings.Builder
		fmt.Fprintf(&b, "*%s\n:%s - [0:0]\n", table, c.name)
		for _, r := range rules {
			fmt.Fprintf(&b, "-A %s %s\n", c.name, r)
		}
		b.WriteString("COMMIT\n")
		if err := call(family(v6)+"-restore", b.String(), "--noflush"); err != nil {
			return err
		}
	}
	for _, j := range c.jumps {
		rest := append(append([]string{j.from}, j.match...), "-j", c.name)
		// Not -C, which came with 1.4.11 only.
		for one(v6, append([]string{"-t", j.table, "-D"}, rest...)...) == nil {
		}
		how := "-A"
		if j.first {
			how = "-I"
		}
		if err := one(v6, append([]string{"-t", j.table, how}, rest...)...); err != nil {
			return err
		}
	}
	return nil
}

// drop takes it away.
func (c *chain) drop(v6 bool) error {
	if _, err := program(family(v6)); err != nil {
		return nil
	}
	var failed error
	for _, j := range c.jumps {
		for one(v6, append(append([]string{"-t", j.table, "-D", j.from}, j.match...), "-j", c.name)...) == nil {
		}
	}
	for _, table := range []string{"filter", "nat"} {
		if one(v6, "-t", table, "-F", c.name) != nil {
			continue // it is not there
		}
		if err := one(v6, "-t", table, "-X", c.name); err != nil {
			failed = err
		}
	}
	return failed
}

// top is our chain in the host's FORWARD. In it come first the chains that say
// what gets into each network, and then those that say that the rest of what comes
// out of them may pass: a packet from one network to another meets the former of
// the other.
const top = "CORACLE-FORWARD"

func networkChains(id string) []*chain {
	return []*chain{
		{name: networkChain(id), jumps: []jump{{"filter", top, nil, true}, {"nat", "POSTROUTING", nil, false}}},
		{name: passChain(id), jumps: []jump{{"filter", top, nil, false}}},
	}
}

// ensureTop makes our chain the first in FORWARD.
func ensureTop(v6 bool) error {
	if one(v6, "-n", "-t", "filter", "-L", top) != nil {
		if err := one(v6, "-t", "filter", "-N", top); err != nil && one(v6, "-n", "-t", "filter", "-L", top) != nil {
			return err
		}
	}
	if isFirst(v6) {
		return nil
	}
	for one(v6, "-t", "filter", "-D", "FORWARD", "-j", top) == nil {
	}
	return one(v6, "-t", "filter", "-I", "FORWARD", "-j", top)
}

// isFirst tells whether FORWARD leads to our chain first, and once.
func isFirst(v6 bool) bool {
	path, err := program(family(v6))
	if err != nil {
		return false
	}
	out, err := exec.Command(path, "-t", "filter", "-S", "FORWARD").Output()
	_, rules, found := strings.Cut(string(out), "\n") // behind the policy
	jump := "-A FORWARD -j " + top + "\n"
	return err == nil && found && strings.HasPrefix(rules, jump) && strings.Count(rules, jump) == 1
}

// dropTop takes our chain away when no network is in it.
func dropTop(v6 bool) {
	path, err := program(family(v6))
	if err != nil {
		return
	}
	out, err := exec.Command(path, "-t", "filter", "-S", top).Output()
	if err != nil || strings.Count(string(out), "\n") > 1 {
		return
	}
	for one(v6, "-t", "filter", "-D", "FORWARD", "-j", top) == nil {
	}
	one(v6, "-t", "filter", "-X", top)
}

func containerJumps(id string) *chain {
	local := []string{"-m", "addrtype", "--dst-type", "LOCAL"}
	return &chain{name: containerChain(id), jumps: []jump{{"nat", "PREROUTING", local, false}, {"nat", "OUTPUT", local, false}}}
}

// PutNetwork makes the network's chains.
func (IPTables) PutNetwork(n *Network) error {
	v4, v6 := families(n.Subnets)
	for six, want := range map[bool]bool{false: v4, true: v6} {
		if !want {
			continue
		}
		if err := putForward(n, six, map[string][]string{"filter": forward(n), "nat": post(n, six)}); err != nil {
			return err
		}
	}
	return nil
}

func putForward(n *Network, v6 bool, rules map[string][]string) error {
	defer alone()()
	if err := ensureTop(v6); err != nil {
		return err
	}
	chains := networkChains(n.ID)
	chains[0].rules = rules
	if rules["nat"] == nil {
		chains[0].jumps = chains[0].jumps[:1]
	}
	chains[1].rules = map[string][]string{"filter": {"-i " + n.Bridge + " -j ACCEPT"}}
	for _, c := range chains {
		if err := c.put(v6); err != nil {
			return err
		}
	}
	return nil
}

// Pass lets a network's packets through the host's FORWARD chain, where others
// have made that drop what they do not know.
func (IPTables) Pass(n *Network, v6 bool) error {
	return putForward(n, v6, map[string][]string{"filter": forward(n)})
}

func forward(n *Network) []string {
	in, out := "-i "+n.Bridge, "-o "+n.Bridge
	among := in + " " + out + " -j ACCEPT"
	if !n.ICC {
		among = in + " " + out + " -j DROP"
	}
	if n.Internal {
		return []string{among, in + " -j DROP", out + " -j DROP"}
	}
	return []string{
		among,
		out + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		out + " -m conntrack --ctstate DNAT -j ACCEPT",
		out + " -j DROP",
	}
}

func post(n *Network, v6 bool) []string {
	rules := []string{}
	if n.Internal {
		return rules
	}
	for _, p := range n.Subnets {
		if p.Addr().Is6() != v6 {
			continue
		}
		rules = append(rules, "-s "+p.String()+" -d "+p.String()+" -m conntrack --ctstate DNAT -j MASQUERADE")
		if n.Masquerade {
			rules = append(rules, "-s "+p.String()+" ! -o "+n.Bridge+" -j MASQUERADE")
		}
	}
	return rules
}

// DropNetwork deletes the network's chains.
func (IPTables) DropNetwork(id string) error {
	defer alone()()
	var failed error
	for _, v6 := range []bool{false, true} {
		for _, c := range networkChains(id) {
			failed = errors.Join(failed, c.drop(v6))
		}
		dropTop(v6)
	}
	return failed
}

// PutContainer makes the container's chains.
func (IPTables) PutContainer(c *Container) error {
	for _, v6 := range []bool{false, true} {
		var rules []string
		for _, p := range c.Ports {
			if p.To.Is6() == v6 {
				rules = append(rules, publish(p)...)
			}
		}
		if len(rules) == 0 {
			continue
		}
		ch := containerJumps(c.ID)
		ch.rules = map[string][]string{"nat": rules}
		if err := ch.put(v6); err != nil {
			return err
		}
	}
	return nil
}

func publish(p Port) []string {
	at := "! -d 127.0.0.0/8 "
	to := p.To.String()
	if p.To.Is6() {
		at, to = "! -d ::1 ", "["+to+"]"
	}
	if p.HostIP.IsValid() {
		at = "-d " + p.HostIP.String() + " "
	}
	at += "-p " + p.Proto + " -m " + p.Proto + " --dport "
	switch {
	case p.Count <= 1:
		return []string{at + number(p.Host) + " -j DNAT --to-destination " + to + ":" + number(p.Port)}
	case p.Host == p.Port:
		return []string{at + number(p.Host) + ":" + number(p.Host+p.Count-1) + " -j DNAT --to-destination " + to}
	}
	var rules []string
	for i := range p.Count {
		rules = append(rules, at+number(p.Host+i)+" -j DNAT --to-destination "+to+":"+number(p.Port+i))
	}
	return rules
}

func number(n uint16) string { return strconv.Itoa(int(n)) }

// DropContainer deletes the container's chains.
func (IPTables) DropContainer(id string) error {
	c := containerJumps(id)
	return errors.Join(c.drop(false), c.drop(true))
}

// HasNetwork asks whether the network's chains are whole: `iptables -F` leaves
// chains, and nothing in them nor what leads there. Each family has a program of
// its own, and is flushed alone.
func (IPTables) HasNetwork(n *Network) bool {
	v4, v6 := families(n.Subnets)
	whole := func(v6 bool) bool { return inUse(v6, "nat", networkChain(n.ID)) && passes(v6, n.ID) }
	return (!v4 || whole(false)) && (!v6 || whole(true))
}

// passes tells whether the network's chains in the table filter are whole.
func passes(v6 bool, id string) bool {
	return inUse(v6, "filter", top) && inUse(v6, "filter", networkChain(id)) && filled(v6, "filter", passChain(id))
}

// HasContainer asks for the container's chains.
func (IPTables) HasContainer(c *Container) bool {
	for _, p := range c.Ports {
		if !filled(p.To.Is6(), "nat", containerChain(c.ID)) {
			return false
		}
	}
	return true
}

func hasChain(table, name string) bool {
	return list(false, table, name) != "" || list(true, table, name) != ""
}

// inUse tells whether a chain is there and something leads to it, filled whether
// it has rules too. The first line of a list says "(1 references)", the second
// names the columns.
func inUse(v6 bool, table, name string) bool {
	out := list(v6, table, name)
	return out != "" && !strings.Contains(out, "(0 references)")
}

func filled(v6 bool, table, name string) bool {
	out := list(v6, table, name)
	return strings.Count(strings.TrimSpace(out), "\n") > 1 && !strings.Contains(out, "(0 references)")
}

func list(v6 bool, table, name string) string {
	path, err := program(family(v6))
	if err != nil {
		return ""
	}
	args := []string{"-n", "-t", table, "-L", name}
	out, err := exec.Command(path, append([]string{"-w"}, args...)...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		out, err = exec.Command(path, args...).Output()
	}
	if err != nil {
		return ""
	}
	return string(out)
}
