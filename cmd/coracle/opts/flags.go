package opts

import "github.com/urfave/cli/v2"

// List is a flag that may be given more than once; its values stay as they are.
func List(name, short, usage string) *cli.StringSliceFlag {
	return &cli.StringSliceFlag{Name: name, Aliases: aliases(short), Usage: usage, KeepSpace: true}
}

// Text is a flag with a value.
func Text(name, short, usage string) *cli.StringFlag {
	return &cli.StringFlag{Name: name, Aliases: aliases(short), Usage: usage}
}

// Number is a flag with a number.
func Number(name, short, usage string) *cli.IntFlag {
	return &cli.IntFlag{Name: name, Aliases: aliases(short), Usage: usage}
}

// Toggle is a flag without a value.
func Toggle(name, short, usage string) *cli.BoolFlag {
	return &cli.BoolFlag{Name: name, Aliases: aliases(short), Usage: usage}
}

func aliases(short string) []string {
	if short == "" {
		return nil
	}
	return []string{short}
}
