package command

import (
	"fmt"
	"time"

	"coracle/cmd/coracle/format"
	"coracle/engine/upkeep"

	"github.com/urfave/cli/v2"
)

func newDf(t *tool) *verb {
	v := &verb{mixed: true}
	v.Command = &cli.Command{
		Usage:       "Show coracle's disk usage",
		Description: "Images take room twice: as they came, and unpacked for containers. SIZE counts both.",
		Flags: []cli.Flag{
			text("format", "", formatUsage),
			toggle("verbose", "v", "Show detailed information on space usage"),
		},
	}
	v.Action = func(c *cli.Context) error {
		eng, err := t.engine(c.Context)
		if err != nil {
			return err
		}
		u, err := upkeep.DiskUsage(c.Context, eng)
		if err != nil {
			return err
		}
		if c.Bool("verbose") {
			return dfVerbose(t, u, c.String("format"))
		}
		return format.Write(t.Out, format.DiskUsages(c.String("format")), format.DiskUsageRows(u))
	}
	return v
}

func dfVerbose(t *tool, u *upkeep.Usage, text string) error {
	v := format.NewVerboseUsage(u, time.Now())
	if text != "" && text != "table" {
		return format.Objects(t.Out, text, []any{v})
	}
	fmt.Fprint(t.Out, "Images space usage:\n\n")
	if err := format.Write(t.Out, format.ImageUses(), v.Images); err != nil {
		return err
	}
	fmt.Fprint(t.Out, "\nContainers space usage:\n\n")
	if err := format.Write(t.Out, format.ContainerUses(), v.Containers); err != nil {
		return err
	}
	fmt.Fprint(t.Out, "\nLocal Volumes space usage:\n\n")
	if err := format.Write(t.Out, format.VolumeUses(), v.Volumes); err != nil {
		return err
	}
	fmt.Fprint(t.Out, "\nBuild cache usage: 0B\n\nCACHE ID   CACHE TYPE   SIZE      CREATED   LAST USED   USAGE     SHARED\n")
	return nil
}
