package nat

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// NFTables puts rules by netlink, without a program.
type NFTables struct{}

var _ Firewall = NFTables{}

func networkTable(id string) string   { return "coracle-n-" + short(id) }
func containerTable(id string) string { return "coracle-c-" + short(id) }

// batch is one transaction.
type batch struct{ *nftables.Conn }

func begin() (*batch, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	return &batch{c}, nil
}

// table makes an empty one. With replace it takes the place of one that is
// there: a deletion, for which the kernel waits for all processors, 10 to 20 ms.
func (b *batch) table(family nftables.TableFamily, name string, replace bool) *nftables.Table {
	t := &nftables.Table{Family: family, Name: name}
	if !replace {
		return b.CreateTable(t)
	}
	// Added first so that the deletion finds one.
	b.AddTable(t)
	b.DelTable(t)
	return b.AddTable(t)
}

// put makes tables in one transaction, and in the place of others only where
// there are some.
func put(fill func(b *batch, replace bool) error) error {
	var err error
	for _, replace := range []bool{false, true} {
		var b *batch
		if b, err = begin(); err != nil {
			return err
		}
		if err = fill(b, replace); err != nil {
			return err
		}
		if err = b.commit(); !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return err
}

func (b *batch) commit() error {
	if err := b.Flush(); err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	return nil
}

func (b *batch) chain(t *nftables.Table, name string, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) func(exprs ...[]expr.Any) {
	accept := nftables.ChainPolicyAccept
	c := b.AddChain(&nftables.Chain{Name: name, Table: t, Type: kind, Hooknum: hook, Priority: prio, Policy: &accept})
	return func(exprs ...[]expr.Any) {
		b.AddRule(&nftables.Rule{Table: t, Chain: c, Exprs: slices.Concat(exprs...)})
	}
}

// PutNetwork makes the network's tables.
func (NFTables) PutNetwork(n *Network) error {
	return put(func(b *batch, replace bool) error {
		v4, v6 := families(n.Subnets)
		if v4 {
			b.network(b.table(nftables.TableFamilyIPv4, networkTable(n.ID), replace), n)
		}
		if v6 {
			b.network(b.table(nftables.TableFamilyIPv6, networkTable(n.ID), replace), n)
		}
		return nil
	})
}

func (b *batch) network(t *nftables.Table, n *Network) {
	forward := b.chain(t, "forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	in, out := match(expr.MetaKeyIIFNAME, n.Bridge), match(expr.MetaKeyOIFNAME, n.Bridge)
	if !n.ICC {
		forward(in, out, verdict(expr.VerdictDrop))
	}
	forward(in, out, verdict(expr.VerdictAccept))
	if n.Internal {
		forward(in, verdict(expr.VerdictDrop))
		forward(out, verdict(expr.VerdictDrop))
		return
	}
	// Answers, and what came by a published port; nothing else gets in.
	forward(out, bits(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), verdict(expr.VerdictAccept))
	forward(out, bits(expr.CtKeySTATUS, statusDNAT), verdict(expr.VerdictAccept))
	forward(out, verdict(expr.VerdictDrop))

	post := b.chain(t, "postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	for _, p := range n.Subnets {
		if p.Addr().Is4() != (t.Family == nftables.TableFamilyIPv4) {
			continue
		}
		// From one container to another by a port of the host's: the answer has
		// to come back by the host.
		post(address(p, true), address(p, false), bits(expr.CtKeySTATUS, statusDNAT), masquerade())
		if n.Masquerade {
			post(address(p, true), differs(expr.MetaKeyOIFNAME, n.Bridge), masquerade())
		}
	}
}

// DropNetwork deletes the network's tables, and what LetPass has put.
func (NFTables) DropNetwork(id string) error {
	if hasChain("filter", networkChain(id)) {
		if err := (IPTables{}).DropNetwork(id); err != nil {
			return err
		}
	}
	return drop(networkTable(id), nftables.TableFamilyIPv4, nftables.TableFamilyIPv6)
}

// DropContainer deletes the container's tables.
func (NFTables) DropContainer(id string) error {
	return drop(containerTable(id), nftables.TableFamilyIPv4, nftables.TableFamilyIPv6)
}

// drop deletes the tables of a name that are there, in one transaction, because
// the kernel waits long for each.
func drop(name string, families ...nftables.TableFamily) error {
	b, err := begin()
	if err != nil {
		return err
	}
	found := false
	for _, f := range families {
		if there(b.Conn, name, f) {
			b.DelTable(&nftables.Table{Family: f, Name: name})
			found = true
		}
	}
	if !found {
		return nil
	}
	if err := b.commit(); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func there(c *nftables.Conn, name string, f nftables.TableFamily) bool {
	tables, err := c.ListTablesOfFamily(f)
	return err == nil && slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == name })
}

// HasNetwork asks for the network's table.
func (NFTables) HasNetwork(n *Network) bool { return has(networkTable(n.ID)) }

// HasContainer asks for the container's table.
func (NFTables) HasContainer(c *Container) bool { return has(containerTable(c.ID)) }

func has(name string) bool {
	c, err := nftables.New()
	if err != nil {
		return false
	}
	return there(c, name, nftables.TableFamilyIPv4) || there(c, name, nftables.TableFamilyIPv6)
}

// PutContainer makes the container's table of ports in each family.
func (NFTables) PutContainer(c *Container) error {
	err := putPorts(c, local)
	if errors.Is(err, unix.ENOENT) {
		err = putPorts(c, known) // no such expression
	}
	return err
}

// putPorts makes the tables; own says what is sent to the host's own addresses.
func putPorts(c *Container, own func(v6 bool) [][]expr.Any) error {
	return put(func(b *batch, replace bool) error {
		for family, v6 := range map[nftables.TableFamily]bool{nftables.TableFamilyIPv4: false, nftables.TableFamilyIPv6: true} {
			var ports []Port
			for _, p := range c.Ports {
				if p.To.Is6() == v6 {
					ports = append(ports, p)
				}
			}
			if len(ports) == 0 {
				continue
			}
			if err := b.ports(b.table(family, containerTable(c.ID), replace), own(v6), v6, ports); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *batch) ports(t *nftables.Table, own [][]expr.Any, v6 bool, ports []Port) error {
	pre := b.chain(t, "prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	out := b.chain(t, "output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	for i, p := range ports {
		to, err := b.target(t, i, p)
		if err != nil {
			return err
		}
		port := slices.Concat(protocol(p.Proto), portRange(p.Host, p.Count))
		if p.HostIP.IsValid() {
			at := address(netip.PrefixFrom(p.HostIP, p.HostIP.BitLen()), false)
			pre(at, port, to)
			out(at, port, to)
			continue
		}
		for _, at := range own {
			pre(at, port, to)
			// 127.0.0.1 cannot leave the host: the monitor's own socket serves it.
			out(notLoopback(v6), at, port, to)
		}
	}
	return nil
}

// target sends a packet to a container's port: all to one, a range to the same
// range, or each to its own by a map.
func (b *batch) target(t *nftables.Table, i int, p Port) ([]expr.Any, error) {
	nat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(t.Family), RegAddrMin: 1}
	to := []expr.Any{&expr.Immediate{Register: 1, Data: p.To.AsSlice()}}
	switch {
	case p.Count <= 1:
		nat.RegProtoMin = 2
		return append(to, &expr.Immediate{Register: 2, Data: be16(p.Port)}, nat), nil
	case p.Host == p.Port:
		return append(to, nat), nil
	}
	set := &nftables.Set{
		Table: t, Name: fmt.Sprintf("ports%d", i), IsMap: true,
		KeyType: nftables.TypeInetService, DataType: nftables.TypeInetService,
	}
	elements := make([]nftables.SetElement, p.Count)
	for n := range p.Count {
		elements[n] = nftables.SetElement{Key: be16(p.Host + n), Val: be16(p.Port + n)}
	}
	// A message holds no more than 64 KiB.
	const part = 500
	if err := b.AddSet(set, elements[:min(part, len(elements))]); err != nil {
		return nil, err
	}
	for at := part; at < len(elements); at += part {
		if err := b.SetAddElements(set, elements[at:min(at+part, len(elements))]); err != nil {
			return nil, err
		}
	}
	nat.RegProtoMin = 2
	return append(to,
		&expr.Payload{DestRegister: 2, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Lookup{SourceRegister: 2, DestRegister: 2, IsDestRegSet: true, SetName: set.Name, SetID: set.ID},
		nat), nil
}
