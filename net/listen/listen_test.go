package listen

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestParseAddr(t *testing.T) {
	l := Table{}
	l.read(strings.NewReader("  sl  local_address rem_address   st\n"+
		"   0: "+native("7F000001")+":0050 00000000:0000 0A 0\n"+
		"   1: "+native("7F000001")+":0051 00000000:0000 01 0\n"+
		"   2: garbage:0050 00000000:0000 0A 0\n   3: 00:99999 x 0A\n"), "tcp", "0A")
	at, ok := l.Somewhere(Socket{"tcp", 80})
	if len(l) != 1 || !ok || at.String() != "127.0.0.1:80" {
		t.Errorf("%v", l)
	}
}

// native is a word as this machine's kernel prints it.
func native(big string) string {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return big
	}
	return big[6:] + big[4:6] + big[2:4] + big[:2]
}

func TestLook(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	s := Socket{"tcp", at.Port()}
	if got := Look("/proc/self"); !got.At(s, at.Addr()) || got.At(s, netip.MustParseAddr("127.0.0.2")) {
		t.Errorf("%v", got[s])
	}
}
