package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// packages are what a Node.js agent asks for in its package.json.
type packages struct {
	manifest []byte // a package.json of nothing but dependencies
	lock     []byte // package-lock.json; nil if there is none
	config   []byte // what of .npmrc an install needs
	count    int
}

// manifestFields are the fields of a package.json that decide what npm
// installs. With a lock file npm compares all of them to it.
var manifestFields = []string{"dependencies", "optionalDependencies", "devDependencies", "peerDependencies", "peerDependenciesMeta", "overrides"}

// readPackages reads package.json; nil if it asks for nothing.
func readPackages(dir string, scripts bool) (*packages, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	text, err := root.ReadFile("package.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, isolde.Errorf(isolde.CodeInvalid, "package.json: %v", err).WithHint("correct the file")
	}
	kept := map[string]json.RawMessage{"name": []byte(`"agent"`), "private": []byte("true")}
	p := &packages{}
	for _, field := range manifestFields {
		if all[field] != nil {
			kept[field] = all[field]
		}
	}
	for _, field := range []string{"dependencies", "optionalDependencies", "peerDependencies"} {
		n, err := checkPackages(field, all[field], scripts)
		if err != nil {
			return nil, err
		}
		if field != "peerDependencies" {
			p.count += n
		}
	}
	if p.count == 0 {
		return nil, nil
	}
	if p.manifest, err = json.Marshal(kept); err != nil {
		return nil, err
	}
	for _, name := range []string{"npm-shrinkwrap.json", "package-lock.json"} {
		if lock, err := root.ReadFile(name); err == nil {
			p.lock = lock
			if err := checkLock(name, lock); err != nil {
				return nil, err
			}
			break
		}
	}
	if config, err := root.ReadFile(".npmrc"); err == nil {
		p.config = registryConfig(config)
	}
	return p, nil
}

// sourceRE tells a dependency that is not a package of a registry: a folder,
// a repository, or "user/repository".
var sourceRE = regexp.MustCompile(`^(file:|link:|git[+:@]|git\+ssh:|ssh:|github:|gitlab:|bitbucket:|gist:|\.|/|~/|[\w.-]+/[\w.-]+(#.*)?$)`)

// checkPackages counts the dependencies in a field, and refuses those that
// cannot be installed without running code of theirs.
func checkPackages(field string, raw json.RawMessage, scripts bool) (int, error) {
	if raw == nil {
		return 0, nil
	}
	var wanted map[string]string
	if err := json.Unmarshal(raw, &wanted); err != nil {
		return 0, isolde.Errorf(isolde.CodeInvalid, "package.json: %s: %v", field, err).WithHint("correct the file")
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		spec := wanted[name]
		switch {
		case strings.HasPrefix(spec, "file:"), strings.HasPrefix(spec, "link:"), strings.HasPrefix(spec, "."), strings.HasPrefix(spec, "/"), strings.HasPrefix(spec, "~/"):
			return 0, isolde.Errorf(isolde.CodeInvalid, "package.json: dependency %s is the folder %s", name, spec).
				WithHint("import its files by a relative path, or publish it to a registry")
		case !scripts && sourceRE.MatchString(spec):
			return 0, isolde.Errorf(isolde.CodeInvalid, "package.json: dependency %s comes from a repository, %s", name, spec).
				WithHint("use a published version, or %s", allowScripts)
		}
	}
	return len(wanted), nil
}

// checkLock refuses a lock file, npm's own among them, that takes a package
// from this machine's files, by whatever package that was asked for.
func checkLock(name string, lock []byte) error {
	var all any
	if err := json.Unmarshal(lock, &all); err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "%s: %v", name, err).WithHint("npm install writes it anew")
	}
	if from := hostPath(all); from != "" {
		return isolde.Errorf(isolde.CodeInvalid, "%s: a package comes from %s, a file of the server's machine", name, from).
			WithHint("use published versions; npm install writes the file anew")
	}
	return nil
}

// hostPath finds, in the JSON of a lock file, where a package comes from if
// that is a file: the values of "resolved" are addresses, and those of
// "version" are versions or addresses.
func hostPath(v any) string {
	switch v := v.(type) {
	case []any:
		for _, child := range v {
			if from := hostPath(child); from != "" {
				return from
			}
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			from, isText := v[name].(string)
			switch {
			case !isText:
				if from := hostPath(v[name]); from != "" {
					return from
				}
			case name == "resolved" && !remoteRE.MatchString(from),
				name == "version" && pathRE.MatchString(from),
				folderRE.MatchString(from):
				return from
			}
		}
	}
	return ""
}

var (
	remoteRE = regexp.MustCompile(`^(https?|git|git\+\w+|ssh)://`)
	pathRE   = regexp.MustCompile(`^\s*[./~\\]`)
	folderRE = regexp.MustCompile(`(?i)^\s*(file|link):`)
)

// registryRE are the lines of an .npmrc that say where packages come from and
// how to log in there. Others could name programs to run.
var registryRE = regexp.MustCompile(`^\s*(registry|@[\w.-]+:registry|//[^\s=]+|legacy-peer-deps|strict-peer-deps)\s*=`)

func registryConfig(config []byte) []byte {
	var kept []byte
	for line := range strings.Lines(string(config)) {
		if registryRE.MatchString(line) {
			kept = append(kept, strings.TrimRight(line, "\r\n")+"\n"...)
		}
	}
	return kept
}

// key is the key of the dependency layer; empty if there are none.
func (p *packages) key(info nodeInfo, scripts bool) string {
	if p == nil {
		return ""
	}
	return key("node", info.Version, info.Modules, fmt.Sprint(scripts), string(p.manifest), string(p.lock), string(p.config))
}

func (*node) dependencies(ctx context.Context, b *build) (layer, error) {
	wanted, err := readPackages(b.src.Dir, b.scripts)
	if err != nil || wanted == nil {
		return layer{}, err
	}
	info, err := b.findNode(ctx)
	if err != nil {
		return layer{}, err
	}
	key := wanted.key(info, b.scripts)
	l, cached, err := b.keyed(ctx, folderDependencies, key, nil, func(ctx context.Context) (layer, error) {
		return b.installNode(ctx, wanted, key)
	})
	if err != nil {
		return layer{}, err
	}
	b.report.say("dependencies", cached, "%s of packages for package.json", megabytes(l.Size))
	return l, nil
}

func (b *build) installNode(ctx context.Context, wanted *packages, key string) (layer, error) {
	tmp, err := os.MkdirTemp(b.tmp, "dependencies-")
	if err != nil {
		return layer{}, err
	}
	defer os.RemoveAll(tmp)
	work, target := filepath.Join(tmp, "work"), filepath.Join(tmp, "packages")
	modules := filepath.Join(work, "node_modules")
	for _, dir := range []string{work, target, modules} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return layer{}, err
		}
	}
	for name, content := range map[string][]byte{"package.json": wanted.manifest, "package-lock.json": wanted.lock, ".npmrc": wanted.config} {
		if content == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(work, name), content, 0o600); err != nil {
			return layer{}, err
		}
	}
	if err := b.runNPM(ctx, wanted, work); err != nil {
		return layer{}, err
	}
	// A package of a registry may ask for a file as well.
	if installed, err := os.ReadFile(filepath.Join(modules, ".package-lock.json")); err == nil {
		if err := checkLock("package.json", installed); err != nil {
			return layer{}, err
		}
	}
	t := tree{}
	if err := t.folder(codeDir+"/node_modules", modules, 0, nil); err != nil {
		return layer{}, err
	}
	l, err := b.writeLayer(ctx, t)
	if err != nil {
		return layer{}, err
	}
	if err := os.Rename(modules, filepath.Join(target, "node_modules")); err != nil {
		return layer{}, err
	}
	l.Folder, err = b.keepFolder(target, folderDependencies, key)
	return l, err
}

func (b *build) runNPM(ctx context.Context, wanted *packages, work string) error {
	npm, err := b.lookPath("npm")
	if err != nil {
		return isolde.Errorf(isolde.CodeUnsupported, "there is no npm here to install what package.json names").
			WithHint("it comes with Node.js from https://nodejs.org, or: apt-get install npm").WithCause(err)
	}
	verb := "install"
	if wanted.lock != nil {
		verb = "ci"
	}
	args := []string{npm, verb, "--omit=dev", "--no-audit", "--no-fund", "--no-progress", "--no-update-notifier", "--loglevel=error"}
	if !b.scripts {
		// Without a git, nothing is cloned and then "prepared".
		args = append(args, "--ignore-scripts", "--git=false")
	}
	b.report.say("dependencies", false, "installing %s with npm %s", countPackages(wanted.count), verb)
	_, err = b.runTool(ctx, tool{dir: work, args: args})
	if failed, ok := errors.AsType[*toolError](err); ok {
		return isolde.Errorf(isolde.CodeInvalid, "cannot install dependencies: %s", errorLines(failed.output)).
			WithHint("check names and versions in package.json; npm %s in the agent's folder shows more", verb).WithCause(failed)
	}
	return err
}
