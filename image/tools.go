package image

import (
	"bufio"
	"debug/elf"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// tools are the programs that images have beside their language's own, for
// the commands that are run in a session: a shell, coreutils, and what people
// type without thinking. What this machine lacks, an image lacks, too.
var tools = []string{
	"bash", "sh",
	"[", "basename", "base64", "cat", "chgrp", "chmod", "chown", "cksum", "comm", "cp", "cut", "date", "dd", "df", "dirname", "du",
	"echo", "env", "expand", "expr", "false", "fold", "head", "id", "install", "join", "kill", "link", "ln", "ls", "md5sum", "mkdir",
	"mkfifo", "mktemp", "mv", "nice", "nl", "nohup", "nproc", "od", "paste", "printenv", "printf", "pwd", "readlink", "realpath",
	"rm", "rmdir", "seq", "sha1sum", "sha256sum", "sha512sum", "shuf", "sleep", "sort", "split", "stat", "stdbuf", "stty", "sync",
	"tac", "tail", "tee", "test", "timeout", "touch", "tr", "true", "truncate", "tsort", "tty", "uname", "unexpand", "uniq",
	"unlink", "wc", "who", "whoami", "xargs", "yes",
	"awk", "cmp", "diff", "egrep", "fgrep", "find", "grep", "gunzip", "gzip", "hostname", "less", "more", "ps", "sed", "tar", "which", "zcat",
}

// toolFolders are where they are looked for, and toolFolder where they go.
var toolFolders = []string{"/usr/bin", "/bin", "/usr/sbin", "/sbin"}

const toolFolder = "usr/bin"

// tools adds them with the libraries they need. One that cannot be had whole
// is left out: no agent was promised it.
func (t tree) tools() {
	for _, name := range tools {
		for _, dir := range toolFolders {
			file, err := filepath.EvalSymlinks(filepath.Join(dir, name))
			if err == nil && isProgram(file) && t.tool(name, file) == nil {
				break
			}
		}
	}
	// Commands are promised bash; scripts that want sh get the same.
	if _, ok := t[toolFolder+"/bash"]; ok {
		t.link(toolFolder+"/sh", "bash")
		t.link("bin/sh", "/"+toolFolder+"/bash")
	}
}

// tool adds one program under its name in both folders that scripts know. A
// file of many programs, such as busybox, is added once.
func (t tree) tool(name, file string) error {
	needs := tree{}
	if err := needs.program(file); err != nil {
		return err
	}
	at := path.Join(toolFolder, filepath.Base(file))
	needs.file(at, file, 0o755)
	for _, alias := range []string{path.Join(toolFolder, name), path.Join("bin", name)} {
		if alias != at {
			needs.link(alias, "/"+at)
		}
	}
	for name, e := range needs {
		if _, ok := t[name]; !ok {
			t[name] = e
		}
	}
	return nil
}

// program adds what a program needs: its libraries, or nothing for a script of
// the shell.
func (t tree) program(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadString('\n')
	if script, ok := strings.CutPrefix(line, "#!"); ok {
		if fields := strings.Fields(script); len(fields) > 0 && slices.Contains([]string{"/bin/sh", "/bin/bash", "/usr/bin/sh"}, fields[0]) {
			return nil
		}
	}
	if !strings.HasPrefix(line, elf.ELFMAG) {
		return errors.New("neither a program nor a script of the shell")
	}
	return newLinker(t).add(file)
}
