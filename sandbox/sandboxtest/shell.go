package sandboxtest

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/isolde-run/isolde/sandbox"
)

// Shell is a [Script]'s Exec that is a shell on a terminal: it does the lines
// that are typed.
//
//	echo TEXT    shows the text
//	flood N      shows N bytes
//	exit N       ends with the code
//
// It also shows the size that its window gets, as "COLUMNS x ROWS".
func Shell(ctx context.Context, cmd sandbox.Command) (int, error) {
	if cmd.Terminal == nil {
		return -1, sandbox.ErrNotExecutable
	}
	lines := make(chan string)
	go func() { // ends with the input, as Exec's caller has to end that
		defer close(lines)
		for in := bufio.NewScanner(cmd.Terminal.Input); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	size := cmd.Terminal.Size
	show := func(format string, args ...any) error {
		_, err := fmt.Fprintf(cmd.Stdout, format, args...)
		return err
	}
	err := show("%d x %d\n", size.Columns, size.Rows)
	for err == nil {
		select {
		case size := <-cmd.Terminal.Resize:
			err = show("%d x %d\n", size.Columns, size.Rows)
		case line, ok := <-lines:
			if !ok {
				return -1, context.Cause(ctx)
			}
			order, argument, _ := strings.Cut(line, " ")
			n, _ := strconv.Atoi(argument)
			switch order {
			case "echo":
				err = show("%s\n", argument)
			case "flood":
				for ; n > 0 && err == nil; n -= 4096 {
					err = show("%s", strings.Repeat("x", min(n, 4096)))
				}
			case "exit":
				return n, nil
			}
		case <-ctx.Done():
			return -1, context.Cause(ctx)
		}
	}
	return -1, err
}
