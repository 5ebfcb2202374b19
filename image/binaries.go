package image

import (
	"debug/elf"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// platform is what a binary runs on: a Linux machine as uname calls it, or
// another system.
type platform string

// machines are those that packages are published for; what is for another
// passes unseen.
var machines = map[elf.Machine]platform{
	elf.EM_X86_64: "x86_64", elf.EM_AARCH64: "aarch64", elf.EM_386: "i686", elf.EM_ARM: "armv7l",
}

// platformOf reads a binary's header; empty if it is none that is known.
func platformOf(file string) platform {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 20)
	if _, err := io.ReadFull(f, head); err != nil {
		return ""
	}
	switch magic := string(head[:4]); {
	case magic == elf.ELFMAG:
		return machines[elf.Machine(binary.LittleEndian.Uint16(head[18:]))]
	case magic == "\xcf\xfa\xed\xfe", magic == "\xca\xfe\xba\xbe":
		return "macOS"
	case magic[:2] == "MZ":
		return "Windows"
	}
	return ""
}

// misfit is a binary that does not fit the interpreter.
type misfit struct{ file, family, why string }

// firstMisfit makes an error of the misfits that nothing in their family makes
// good, if there are any.
func firstMisfit(all []misfit, fits map[string]bool, hint string) error {
	all = slices.DeleteFunc(all, func(m misfit) bool { return fits[m.family] })
	if len(all) == 0 {
		return nil
	}
	more := ""
	if len(all) > 1 {
		more = fmt.Sprintf("; %d more do not fit", len(all)-1)
	}
	return isolde.Errorf(isolde.CodeInvalid, "%s %s%s", all[0].file, all[0].why, more).WithHint("%s", hint)
}

// extensionRE is the name of an extension module of Python: its stem, and what
// it was built for.
var extensionRE = regexp.MustCompile(`^(\w+)(\.(cpython-(\d)(\d+)(t?)\w*-[\w-]+|abi3)\.so|\.cp(\d)(\d+)(t?)\w*-\w+\.pyd)$`)

var packageRE = regexp.MustCompile(`^([A-Za-z_]\w*/)*$`)

// checkModules refuses an artifact with an extension module that its
// interpreter cannot load, most often because it was vendored for another
// machine. It looks at what can be imported alone, and lets pass what there is
// for several platforms.
func checkModules(src Source, info pythonInfo) error {
	host := platformOf(info.Base)
	if host == "" {
		return nil
	}
	var misfits []misfit
	fits := map[string]bool{}
	err := eachFile(src.Dir, func(name string) error {
		dir, base := path.Split(name)
		m := extensionRE.FindStringSubmatch(base)
		if m == nil || !packageRE.MatchString(dir) || strings.HasSuffix(m[1], "__mypyc") { // which only other modules load
			return nil
		}
		plain := filepath.Join(src.Dir, filepath.FromSlash(dir), m[1])
		if exists(plain+".py") || exists(filepath.Join(plain, "__init__.py")) {
			return nil // imported in its place
		}
		top, _, _ := strings.Cut(dir, "/")
		family := top + "/" + m[1]
		built := platformOf(filepath.Join(src.Dir, filepath.FromSlash(name)))
		why := ""
		switch {
		case built != "" && built != host:
			why = fmt.Sprintf("is for %s; this machine is %s", built, host)
		case slices.Contains(info.Suffixes, m[2]):
			fits[family] = true
			return nil
		case m[4] != "" && m[4]+"."+m[5] == info.Version && m[6] == "":
			why = fmt.Sprintf("is for another platform than this machine, whose modules end in %s", info.Suffixes[0])
		case m[6] != "":
			why = fmt.Sprintf("is for Python %s.%s without the global lock; the runtime is %s", m[4], m[5], src.Runtime)
		default:
			why = fmt.Sprintf("is for Python %s.%s; the runtime is %s", m[4]+m[7], m[5]+m[8], src.Runtime)
		}
		misfits = append(misfits, misfit{name, family, why})
		return nil
	})
	if err != nil {
		return err
	}
	return firstMisfit(misfits, fits, fmt.Sprintf(
		"vendor the packages again with: uv pip install --python-platform %s-manylinux2014 --python-version %s --only-binary :all: --target FOLDER -r requirements.txt", host, info.Version))
}

// checkAddons refuses an artifact with a package whose native addons for
// Node.js are all for other platforms.
func checkAddons(dir string, info nodeInfo) error {
	host := platformOf(info.Program)
	if host == "" {
		return nil
	}
	var misfits []misfit
	fits := map[string]bool{}
	err := eachFile(dir, func(name string) error {
		if path.Ext(name) != ".node" {
			return nil
		}
		pkg := packageOf(name)
		built := platformOf(filepath.Join(dir, filepath.FromSlash(name)))
		switch {
		case built == host || built == "":
			fits[pkg.family] = true
		case pkg.forPlatform || installsHere(filepath.Join(dir, filepath.FromSlash(pkg.folder))):
			misfits = append(misfits, misfit{name, pkg.family, fmt.Sprintf("is for %s; this machine is %s", built, host)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	cpu := map[platform]string{"x86_64": "x64", "aarch64": "arm64"}[host]
	return firstMisfit(misfits, fits, fmt.Sprintf("vendor the packages again with: npm install --os=linux --cpu=%s --libc=glibc", cpu))
}

// modulePackage is an installed package of npm. The family of x-linux-x64 and
// x-darwin-arm64 is x.
type modulePackage struct {
	folder      string
	family      string // the folder without the platform
	forPlatform bool   // its name has one
}

// packageOf is the package that a file belongs to.
func packageOf(name string) modulePackage {
	const modules = "node_modules/"
	at := strings.LastIndex(name, modules)
	if at < 0 {
		return modulePackage{}
	}
	at += len(modules)
	pkg, rest, _ := strings.Cut(name[at:], "/")
	if strings.HasPrefix(pkg, "@") {
		at += len(pkg) + 1
		pkg, _, _ = strings.Cut(rest, "/")
	}
	words := strings.Split(pkg, "-")
	common := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return platformWords[w] })
	return modulePackage{name[:at] + pkg, name[:at] + strings.Join(common, "-"), len(common) < len(words)}
}

// platformWords are the words for platforms in the names of npm's packages.
var platformWords = map[string]bool{
	"linux": true, "linuxmusl": true, "darwin": true, "win32": true, "android": true, "freebsd": true,
	"x64": true, "arm64": true, "arm": true, "ia32": true, "universal": true, "ppc64": true, "s390x": true, "riscv64": true,
	"gnu": true, "musl": true, "msvc": true, "gnueabihf": true, "musleabihf": true,
}

// installsHere tells whether npm would install a package on Linux: one that it
// would not is optional for whoever uses it.
func installsHere(folder string) bool {
	var manifest struct {
		OS []string `json:"os"`
	}
	text, err := readSmall(filepath.Join(folder, "package.json"))
	if err != nil || json.Unmarshal(text, &manifest) != nil || len(manifest.OS) == 0 {
		return true
	}
	named := slices.ContainsFunc(manifest.OS, func(s string) bool { return !strings.HasPrefix(s, "!") })
	return slices.Contains(manifest.OS, "linux") || !named && !slices.Contains(manifest.OS, "!linux")
}
