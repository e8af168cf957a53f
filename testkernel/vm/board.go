package vm

import (
	"fmt"
	"strconv"
	"strings"
)

// board is a machine as QEMU makes it: two serial ports, an initramfs, and
// nothing else.
type board struct {
	qemu, pkg string // the program, and the Debian package that it is in
	machine   []string
	memory    int      // MiB, where the machine has a fixed amount
	console   string   // what the kernel calls the first port
	port      string   // what it calls the second, below /dev
	serial    []string // QEMU's words for the ports: the console is stdio, the other the chardev "port"
	words     string   // for the kernel's command line
}

// boardOf finds one by QEMU's name of the machine, or the usual one for arch.
func boardOf(machine, arch string) (board, error) {
	if machine == "" {
		machine = map[string]string{"amd64": "pc", "386": "pc", "arm": "virt", "arm64": "virt"}[arch]
	}
	pc := board{
		pkg: "qemu-system-x86", machine: []string{"-M", "pc"}, console: "ttyS0", port: "ttyS1",
		serial: []string{"-serial", "stdio", "-serial", "chardev:port"}, words: "no_timer_check",
	}
	// The board virt has one port; a PC's on the PCI bus is the second.
	virt := board{
		pkg: "qemu-system-arm", console: "ttyAMA0", port: "ttyS0",
		serial: []string{"-serial", "stdio", "-device", "pci-serial,chardev=port"},
	}
	switch machine + " " + arch {
	case "pc amd64":
		pc.qemu = "qemu-system-x86_64"
		return pc, nil
	case "pc 386":
		pc.qemu = "qemu-system-i386"
		return pc, nil
	case "virt arm":
		// Without LPAE the kernel reaches nothing above 4 GiB.
		virt.qemu, virt.machine = "qemu-system-arm", []string{"-M", "virt,highmem=off", "-cpu", "cortex-a15"}
		return virt, nil
	case "virt arm64":
		virt.qemu, virt.machine = "qemu-system-aarch64", []string{"-M", "virt", "-cpu", "cortex-a57"}
		return virt, nil
	case "raspi1ap arm":
		// The small port of BCM2835 gives no interrupts in QEMU, which a console
		// does without. The chip's power manager lacks registers there that its
		// driver reads unasked, and the USB driver hangs now and then.
		return board{
			qemu: "qemu-system-arm", pkg: "qemu-system-arm", machine: []string{"-M", "raspi1ap"}, memory: 512,
			console: "ttyS1", port: "ttyAMA0", serial: []string{"-serial", "chardev:port", "-serial", "stdio"},
			words: "initcall_blacklist=bcm2835_power_driver_init,dwc2_platform_driver_init 8250.nr_uarts=2",
		}, nil
	}
	return board{}, fmt.Errorf("no machine is known for %s %s; there are pc, virt and raspi1ap", machine, arch)
}

// Memory is how many MiB a machine has that asks for some; boards may have a
// fixed amount.
func Memory(machine, arch string, asked int) (int, error) {
	b, err := boardOf(machine, arch)
	return b.has(asked), err
}

// has is how many MiB the board has where so many are asked for.
func (b board) has(asked int) int {
	if b.memory != 0 {
		return b.memory
	}
	return asked
}

// args are QEMU's, with the second serial port at the unix socket at.
func (b board) args(c *Config, initrd, at string) []string {
	words := strings.Join(strings.Fields("console="+b.console+" panic=1 "+b.words+" "+c.Append), " ")
	args := append([]string{}, b.machine...)
	// The machine's time is that of its instructions, 2 ns each, and does not
	// pass while it waits: a busy host makes no time limit in it run out, and no
	// sleep costs anything. On a Raspberry Pi no less helps: the driver of its
	// timer reads the counter and writes when to wake, and where the host lets
	// time pass between the two, that moment is past and comes again after 71
	// minutes (QEMU's hw/timer/bcm2835_systmr.c, as the chip).
	args = append(args, "-accel", "tcg", "-icount", "shift=1,sleep=off", "-m", strconv.Itoa(b.has(c.Memory)),
		"-display", "none", "-no-reboot", "-nodefaults", "-net", "none",
		"-kernel", c.Image, "-initrd", initrd, "-append", words,
		"-chardev", "socket,id=port,path="+at)
	if c.DTB != "" {
		args = append(args, "-dtb", c.DTB)
	}
	return append(args, b.serial...)
}
