package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:  "config",
		Usage: "check, print and explain the settings of serve",
		Action: func(c *cli.Context) error {
			return faults{{"config", "is not a command by itself", "write \"hairpin config check FILE\", \"hairpin config print\" or \"hairpin config reference\""}}
		},
		Subcommands: []*cli.Command{
			{
				Name:      "check",
				Usage:     "judge a settings file without starting anything",
				ArgsUsage: "FILE",
				Description: "Reads FILE by itself, without flags and environment, and the files of credentials and certificates that it names. Prints one line for\n" +
					"each fault and exits with 2, or says that the file is good.",
				Action: checkConfig,
			},
			{
				Name:  "print",
				Usage: "print the effective settings and where each came from, secrets hidden",
				Flags: settingFlags(),
				Action: func(c *cli.Context) error {
					settings, err := loadSettings(c)
					if err != nil {
						return err
					}
					return writeWhole(c.App.Writer, func(w io.Writer) { printEffective(w, settings) })
				},
			},
			{
				Name:  "reference",
				Usage: "print a settings file with every key explained",
				Action: func(c *cli.Context) error {
					return writeWhole(c.App.Writer, printReference)
				},
			},
		},
	}
}

func checkConfig(c *cli.Context) error {
	if c.NArg() != 1 {
		return faults{{"FILE", fmt.Sprintf("%d files are named", c.NArg()), "write \"hairpin config check FILE\""}}
	}
	path := c.Args().First()
	settings, err := loadSettingsFile(path)
	if err == nil {
		err = settings.checkSecure().err()
	}
	if err != nil {
		return err
	}
	note := ""
	if !settings.hasCredentials() {
		note = "; it holds no credentials, so serve makes one user at start unless flags or the environment give some"
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s: good%s\n", path, note)
	return err
}

// writeWhole writes a page at once, so that a full disk is noticed: half a page is a wrong one.
func writeWhole(to io.Writer, print func(io.Writer)) error {
	return writeWholeOr(to, func(w io.Writer) error {
		print(w)
		return nil
	})
}
