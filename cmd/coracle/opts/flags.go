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

// CommitFlags are those of `commit`, of a container and of a service's.
func CommitFlags() []cli.Flag {
	pause := Toggle("pause", "p", "Pause container during commit")
	pause.Value = true
	return []cli.Flag{
		Text("author", "a", `Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")`),
		List("change", "c", "Apply Dockerfile instruction to the created image"),
		Text("message", "m", "Commit message"),
		pause,
	}
}
