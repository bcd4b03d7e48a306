// The `opa` tool that extauthz ships: OPA itself, a verb that says what entrypoints read, and, when
// EXTAUTHZ_STDIN_IS_LIFELINE is set, an end together with the process that started it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/open-policy-agent/opa/cmd"
	"github.com/spf13/cobra"

	"extauthz/native/policy"
)

const (
	lifeline = "EXTAUTHZ_STDIN_IS_LIFELINE"
	grace    = 3 * time.Second
	maximum  = 1 << 30
)

type report struct {
	Problems []policy.Problem           `json:"problems"`
	Declared []string                   `json:"declared"`
	Analyses map[string]policy.Analysis `json:"analyses"`
}

func main() {
	if os.Getenv(lifeline) != "" {
		go endWithParent()
	}
	cmd.RootCommand.AddCommand(&cobra.Command{
		Use:   "extauthz-analyse [entrypoint ...]",
		Short: "Compile the policy bundle on stdin; print what each entrypoint can read, as JSON",
		RunE: func(command *cobra.Command, entrypoints []string) error {
			command.SilenceUsage = true
			return analyse(command.Context(), entrypoints)
		},
	})
	if err := cmd.RootCommand.ExecuteContext(context.Background()); err != nil {
		code := 1
		if exit, ok := errors.AsType[*cmd.ExitError](err); ok {
			code = exit.Exit
		}
		os.Exit(code)
	}
}

// endWithParent waits until stdin ends: the other end of the pipe is held by the parent alone, and the kernel closes
// it however the parent dies. A signal at the parent's death (Linux) would fire when the parent's thread ends instead.
func endWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = syscall.Kill(os.Getpid(), syscall.SIGTERM)
	time.Sleep(grace)
	os.Exit(1)
}

func analyse(ctx context.Context, entrypoints []string) error {
	raw, err := io.ReadAll(io.LimitReader(os.Stdin, maximum))
	if err != nil {
		return err
	}
	answer := report{Problems: []policy.Problem{}, Declared: []string{}, Analyses: map[string]policy.Analysis{}}
	loaded, problems := policy.Load(ctx, raw)
	if loaded == nil {
		answer.Problems = problems
		return json.NewEncoder(os.Stdout).Encode(answer)
	}
	answer.Declared = loaded.Entrypoints()
	for _, entrypoint := range append(entrypoints, answer.Declared...) {
		if answer.Analyses[entrypoint], err = loaded.Analyse(entrypoint); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}
