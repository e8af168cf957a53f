package bridge

import (
	"os"
	"testing"

	"coracle/net/network"
	"coracle/net/network/networktest"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { os.Exit(networktest.Own(m.Run)) }

// TestOldKernel makes a bridge and its port, and takes it away, by the calls that
// kernels before 3.0 have.
func TestOldKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make bridges")
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	const name, port = "cr-old", "old0"
	if err := bridgeIoctl(unix.SIOCBRADDBR, name); err != nil {
		t.Skipf("missing feature: bridge: %v", err)
	}
	// What is there is taken as it is.
	n := &network.Network{Interface: name}
	n.Name, n.ID = "old", "0123456789abcdef"
	index, err := up(h, n)
	if err != nil || index == 0 {
		t.Fatalf("%d, %v", index, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = port
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "old1"}); err != nil {
		t.Skipf("missing feature: veth: %v", err)
	}
	link, err := h.LinkByName(port)
	if err != nil {
		t.Fatal(err)
	}
	if err := addPort(name, link.Attrs().Index); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/class/net/" + name + "/brif/" + port); err != nil {
		// sysfs is of the namespace that mounted it; netlink is of ours.
		if link, err = h.LinkByName(port); err != nil || link.Attrs().MasterIndex != index {
			t.Errorf("%s is no port of %s: %+v, %v", port, name, link, err)
		}
	}
	bridge, err := h.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetDown(bridge); err != nil {
		t.Fatal(err)
	}
	if err := bridgeIoctl(unix.SIOCBRDELBR, name); err != nil {
		t.Fatal(err)
	}
	if _, err := h.LinkByName(name); err == nil {
		t.Error("the bridge is still there")
	}
}
