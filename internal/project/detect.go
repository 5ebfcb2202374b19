package project

import (
	"os"
	"path/filepath"
	"slices"
)

// candidates are the entry points [Detect] knows, the likeliest first.
var candidates = []string{
	"agent.py", "main.py", "app.py",
	"agent.ts", "index.ts", "main.ts", "app.ts",
	"agent.mjs", "index.mjs", "agent.js", "index.js", "main.js", "app.js", "server.js",
	"main.go",
}

// sourceExts are the endings of files that can only come from the folder.
// JavaScript is not among them: a build may make it.
var sourceExts = []string{".py", ".ts", ".go"}

// Detect finds the entry point of a folder by the names that agents usually
// have.
func Detect(folder string) (entrypoint string, ok bool) {
	for _, name := range candidates {
		if info, err := os.Stat(filepath.Join(folder, name)); err == nil && info.Mode().IsRegular() {
			return name, true
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
		return ".", true // a Go program, whatever its files are called
	}
	return "", false
}

func isSource(name string) bool { return slices.Contains(sourceExts, filepath.Ext(name)) }

// sources lists the source files at the top of the folder.
func sources(folder string) []string {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if isSource(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}
