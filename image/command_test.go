package image

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

// TestCommandImage takes programs of this machine as agents: one with shared
// libraries, one that is a script.
func TestCommandImage(t *testing.T) {
	s := open(t, Config{})
	t.Run("program", func(t *testing.T) {
		dir := write(t, map[string]string{"data.txt": "hi"})
		program, err := os.ReadFile("/bin/cat")
		if err != nil {
			t.Skip(err)
		}
		if err := os.WriteFile(dir+"/cat", program, 0o755); err != nil {
			t.Fatal(err)
		}
		img := mustBuild(t, s, Source{Dir: dir, Entrypoint: []string{"./cat", "data.txt"}})
		if want := []string{"/app/cat", "data.txt"}; !slices.Equal(img.Command, want) {
			t.Errorf("starts %v", img.Command)
		}
		if out := runHost(t, img); out != "hi" {
			t.Errorf("on the host it says %q", out)
		}
		libraries := 0
		fsys := root(t, img)
		for _, name := range names(t, fsys, ".") {
			if strings.Contains(name, ".so") && strings.HasPrefix(name, "lib") {
				libraries++
			}
		}
		if libraries < 2 { // the loader and the C library
			t.Errorf("%d shared libraries in %v", libraries, names(t, fsys, "."))
		}
	})
	t.Run("script", func(t *testing.T) {
		dir := write(t, map[string]string{"!run": "#!/bin/sh\necho \"$1\"\n"})
		img := mustBuild(t, s, Source{Dir: dir, Entrypoint: []string{"run", "yes"}})
		if _, err := fs.Stat(root(t, img), "bin/sh"); err != nil {
			t.Error(err)
		}
		if out := runHost(t, img); out != "yes\n" {
			t.Errorf("on the host it says %q", out)
		}
	})
	for line, want := range map[string]string{
		"#!/usr/bin/perl -w":     "a script for /usr/bin/perl -w, which the image does not have",
		"#!/usr/bin/env ruby":    "a script for /usr/bin/env ruby, which the image does not have",
		"#!/no/such/folder/bash": "a script for /no/such/folder/bash, which this machine does not have",
	} {
		_, err := s.Build(t.Context(), Source{Dir: write(t, map[string]string{"!run": line + "\n"}), Entrypoint: []string{"run"}}, nil)
		refused(t, err, isolde.CodeInvalid, want)
	}
}

// TestIgnore is about patterns as .gitignore has them.
func TestIgnore(t *testing.T) {
	dir := write(t, map[string]string{ignoreFile: "*.log\n!keep.log\n/top\nbuild/\na/**/z\n#comment\n\n"})
	ig, err := readIgnore(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	want := map[string]bool{
		"x.log": true, "d/x.log": true, "keep.log": false, "d/keep.log": false, "top": true, "d/top": false,
		"build/": true, "d/build/": true, "build": false, "a/z": true, "a/b/c/z": true, "b/z": false,
		".git/": true, "d/__pycache__/": true, "venv/": true, "agent.py": false, ".env": false,
	}
	for name := range want {
		clean, isDir := strings.CutSuffix(name, "/")
		got[name] = ig.skips(clean, isDir)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ignored (-want +got):\n%s", diff)
	}
	bad := write(t, map[string]string{ignoreFile: "ok\n[a\n", "agent.py": ""})
	if err := Pack(io.Discard, bad); isolde.CodeOf(err) != isolde.CodeInvalid || !strings.Contains(err.Error(), ignoreFile+":2: pattern") {
		t.Errorf("a bad pattern: %v", err)
	}
}
