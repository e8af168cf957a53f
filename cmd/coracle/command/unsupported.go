package command

import (
	"errors"
	"fmt"

	"coracle/cmd/coracle/argv"
)

// refusal names a flag of a command of Docker's that coracle does not have, so that nobody
// takes it for a typing error. Other errors stay as they are.
func refusal(command string, err error) error {
	var unknown *argv.UnknownError
	if !errors.As(err, &unknown) {
		return err
	}
	name := longName(unknown.Name)
	if why := Missing(command, name); why != "" {
		return fmt.Errorf("flag --%s is not supported: %s", name, why)
	}
	return err
}

// longName is the name behind those shorthands of Docker's that we lack.
func longName(name string) string {
	switch name {
	case "p":
		return "publish"
	case "P":
		return "publish-all"
	case "H":
		return "host"
	}
	return name
}

// missing says why coracle lacks a flag of Docker's; "" for what Docker lacks
// too.
func missing(name string) string {
	switch name {
	case "link":
		return "a link stays with the container that it was given to"
	case "host", "context", "tls", "tlscacert", "tlscert", "tlskey", "tlsverify":
		return "there is no daemon to connect to"
	case "gpus":
		return "no driver of devices is there to give them: name the nodes with --device"
	case "use-api-socket", "checkpoint", "checkpoint-dir", "tree":
		return "nothing serves it"
	case "platform":
		return "it is done for all platforms"
	case "disable-content-trust":
		return "there is no content trust, which Docker retires, to disable"
	case "cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops":
		return "it is for Windows"
	}
	return ""
}
