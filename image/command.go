package image

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// command takes the folder as it is and runs an executable in it.
type command struct {
	noDependencies
	name   string   // of the executable, in the folder
	script []string // the interpreter line of a script, nil for a binary
}

// newCommand checks the entry point.
func newCommand(src *Source, files []string) (*command, error) {
	if len(src.Entrypoint) == 0 {
		return nil, isolde.Errorf(isolde.CodeInvalid, "no entry point is set for the agent").
			WithHint("set entrypoint in isolde.yaml to the executable that starts the agent; the folder holds %s", list(files, 6))
	}
	name, err := inSource(src.Entrypoint[0])
	if err != nil {
		return nil, err
	}
	file := filepath.Join(src.Dir, filepath.FromSlash(name))
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil, missingEntry(src, name, files)
	}
	if err != nil {
		return nil, err
	}
	if info.Mode()&0o100 == 0 {
		return nil, isolde.Errorf(isolde.CodeInvalid, "entry point %s is not executable", name).
			WithHint("chmod +x %s", name)
	}
	c := &command{name: name}
	return c, c.readHead(file)
}

// readHead tells a script from a binary, and both from anything else.
func (c *command) readHead(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, 256).ReadSlice('\n')
	if script, ok := bytes.CutPrefix(line, []byte("#!")); ok {
		if c.script = strings.Fields(string(script)); len(c.script) > 0 {
			return nil
		}
	}
	if bytes.HasPrefix(line, []byte(elf.ELFMAG)) {
		return nil
	}
	return isolde.Errorf(isolde.CodeInvalid, "entry point %s is neither a Linux program nor a script", c.name).
		WithHint("a script needs a first line like #!/usr/bin/env python3").WithCause(err)
}

func (c *command) base(ctx context.Context, b *build) (layer, error) {
	common, err := remembered(b.Store, "skeleton", skeleton)
	if err != nil {
		return layer{}, err
	}
	t := maps.Clone(common)
	what, program := "libraries of "+c.name, filepath.Join(b.src.Dir, filepath.FromSlash(c.name))
	if c.script != nil {
		at, file, err := c.interpreter(b)
		if err != nil {
			return layer{}, err
		}
		t.file(strings.TrimPrefix(at, "/"), file, 0o755)
		what, program = at, file
	}
	if err := newLinker(t).add(program); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return layer{}, isolde.Errorf(isolde.CodeInvalid, "entry point %s: %v", c.name, err).
				WithHint("install the library on this machine, or link the program statically")
		}
		return layer{}, err
	}
	p, err := newPlan(t, "command")
	if err != nil {
		return layer{}, err
	}
	return b.keepBase(ctx, what, p, nil)
}

// shells are the interpreters that an image can have beside a language's own:
// one file that needs no others but its libraries.
var shells = map[string]bool{"sh": true, "bash": true, "dash": true, "busybox": true}

// interpreter finds the shell a script wants: where the script expects it, and
// the file it is here.
func (c *command) interpreter(b *build) (at, file string, err error) {
	at = c.script[0]
	name := path.Base(at)
	if name == "env" && len(c.script) > 1 {
		name = c.script[1]
	}
	if !shells[name] || name != path.Base(at) {
		return "", "", isolde.Errorf(isolde.CodeInvalid, "entry point %s is a script for %s, which the image does not have", c.name, strings.Join(c.script, " ")).
			WithHint("set language to python or node if that is what it is; else use #!/bin/sh, #!/bin/bash or a compiled program")
	}
	if file, err = filepath.EvalSymlinks(at); err != nil {
		return "", "", isolde.Errorf(isolde.CodeInvalid, "entry point %s is a script for %s, which this machine does not have", c.name, at).
			WithHint("install it, or change the script's first line").WithCause(err)
	}
	return at, file, nil
}

func (*command) code(ctx context.Context, b *build) (layer, error) {
	staged, err := b.stage(ctx, nil)
	if err != nil {
		return layer{}, err
	}
	return b.keepCode(ctx, staged, []string{"command"}, nil)
}

func (c *command) start(_ context.Context, b *build) (start, error) {
	args := b.src.Entrypoint[1:]
	return start{
		command: append([]string{"/" + codeDir + "/" + c.name}, args...),
		env:     []string{"PATH=" + binPath},
		host: &sandbox.HostRoot{
			Code:    filepath.Join(storeMark, b.codeLayer.Folder),
			Command: append([]string{"./" + c.name}, args...),
			Env:     b.hostEnv(),
		},
	}, nil
}
