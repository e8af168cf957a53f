// Command list prints the packages of the suite, one a line, for a shell's
// command line.
package main

import (
	"fmt"

	"coracle/testkernel/suite"
)

func main() {
	for _, p := range suite.Packages {
		fmt.Println(p)
	}
}
