package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"coracle/image/registry"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

func newLogin(t *tool) *verb {
	v := &verb{mixed: true, max: 1}
	v.Command = &cli.Command{
		Usage:     "Authenticate to a registry",
		ArgsUsage: "[SERVER]",
		Description: "Credentials are kept where Docker keeps them: in config.json of DOCKER_CONFIG or\n" +
			"~/.docker, or by the credential helper that it names.",
		Flags: []cli.Flag{
			text("password", "p", "Password or Personal Access Token (PAT)"),
			toggle("password-stdin", "", "Take the Password or Personal Access Token (PAT) from stdin"),
			text("username", "u", "Username"),
		},
	}
	v.Action = func(c *cli.Context) error { return login(t, c) }
	return v
}

func login(t *tool, c *cli.Context) error {
	user, password := c.String("username"), c.String("password")
	fromStdin := c.Bool("password-stdin")
	switch {
	case fromStdin && password != "":
		return errors.New("conflicting options: cannot specify both --password and --password-stdin")
	case fromStdin && user == "":
		return errors.New("the --password-stdin option requires --username to be set")
	case password != "":
		fmt.Fprintln(t.Err, "WARNING! Using --password via the CLI is insecure. Use --password-stdin.")
	}
	server := serverName(c.Args().First())
	eng, err := t.engine(c.Context)
	if err != nil {
		return err
	}
	client, err := eng.Fetch().Registry()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c.Context)
	defer stop()
	if user == "" && password == "" {
		known, secret, err := registry.Existing(server)
		if err == nil && known != "" && secret != "" {
			fmt.Fprintf(t.Err, "Authenticating with existing credentials... [Username: %s]\n", known)
			fmt.Fprint(t.Err, "\n Info -> To login with a different account, run 'coracle logout' followed by 'coracle login'\n\n\n")
			if client.Login(ctx, server, known, secret) == nil {
				fmt.Fprintln(t.Out, "Login Succeeded")
				return nil
			}
			fmt.Fprintln(t.Err, "Login did not succeed")
		}
	}
	if user, password, err = askPassword(t.Stdio, user, password, fromStdin); err != nil {
		return err
	}
	if err := client.Login(ctx, server, user, password); err != nil {
		return err
	}
	if err := registry.Save(server, user, password); err != nil {
		return err
	}
	fmt.Fprintln(t.Out, "Login Succeeded")
	return nil
}

// serverName is the registry of what the user wrote: a host, or the URL of one.
func serverName(s string) string {
	for _, scheme := range []string{"https://", "http://"} {
		s = strings.TrimPrefix(s, scheme)
	}
	s, _, _ = strings.Cut(s, "/")
	if s == "" || s == "index.docker.io" || s == "registry-1.docker.io" {
		return "docker.io"
	}
	return s
}

// ask gets the user's name and password, from the terminal if need be.
func askPassword(t Stdio, user, password string, fromStdin bool) (string, string, error) {
	if fromStdin {
		if t.In == nil {
			return "", "", errors.New("standard input is closed")
		}
		b, err := io.ReadAll(io.LimitReader(t.In, 1<<20))
		password = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
		if err == nil && password == "" {
			err = errors.New("password is empty")
		}
		return user, password, err
	}
	if user != "" && password != "" {
		return user, password, nil
	}
	if !t.inputIsTerminal() {
		return "", "", errors.New("cannot perform an interactive login from a non TTY device")
	}
	if user == "" {
		fmt.Fprint(t.Out, "Username: ")
		line, err := bufio.NewReader(t.In).ReadString('\n')
		if user = strings.TrimSpace(line); err != nil && user == "" {
			return "", "", fmt.Errorf("username: %w", err)
		}
		if user == "" {
			return "", "", errors.New("username is required")
		}
	}
	if password == "" {
		fmt.Fprint(t.Out, "Password: ")
		b, err := term.ReadPassword(int(t.In.Fd()))
		fmt.Fprintln(t.Out)
		if err != nil {
			return "", "", fmt.Errorf("password: %w", err)
		}
		if password = string(b); password == "" {
			return "", "", errors.New("password is required")
		}
	}
	return user, password, nil
}

func newLogout(t *tool) *verb {
	v := &verb{mixed: true, max: 1}
	v.Command = &cli.Command{
		Usage:     "Log out from a registry",
		ArgsUsage: "[SERVER]",
	}
	v.Action = func(c *cli.Context) error {
		server := serverName(c.Args().First())
		shown := server
		if shown == "docker.io" {
			shown = "https://index.docker.io/v1/"
		}
		_, err := registry.Erase(server)
		fmt.Fprintf(t.Out, "Removing login credentials for %s\n", shown)
		return err
	}
	return v
}
