package image

import (
	"debug/elf"
	"os"
	"path/filepath"
	"testing"

	"github.com/isolde-run/isolde"
)

// The heads of binaries.
var (
	x86     = elfHead(elf.EM_X86_64)
	arm     = elfHead(elf.EM_AARCH64)
	mac     = "\xcf\xfa\xed\xfe" + string(make([]byte, 20))
	windows = "MZ" + string(make([]byte, 20))
)

func elfHead(m elf.Machine) string {
	head := make([]byte, 64)
	copy(head, elf.ELFMAG)
	head[elf.EI_CLASS], head[elf.EI_DATA], head[18], head[19] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(m), byte(m>>8)
	return string(head)
}

func TestModulesThatDoNotFit(t *testing.T) {
	program := filepath.Join(t.TempDir(), "python")
	if err := os.WriteFile(program, []byte(x86), 0o755); err != nil {
		t.Fatal(err)
	}
	info := pythonInfo{Version: "3.12", Base: program, Suffixes: []string{".cpython-312-x86_64-linux-gnu.so", ".abi3.so", ".so"}}
	for name, c := range map[string]struct {
		files map[string]string
		want  string // empty: it passes
	}{
		"fits":               {map[string]string{"a/m.cpython-312-x86_64-linux-gnu.so": x86, "b.abi3.so": x86, "c.so": x86}, ""},
		"aarch64":            {map[string]string{"numpy/_core/_m.cpython-312-aarch64-linux-gnu.so": arm}, "numpy/_core/_m.cpython-312-aarch64-linux-gnu.so is for aarch64; this machine is x86_64"},
		"aarch64, abi3":      {map[string]string{"a/m.abi3.so": arm, "a/n.abi3.so": arm}, "a/m.abi3.so is for aarch64; this machine is x86_64; 1 more do not fit"},
		"macOS":              {map[string]string{"m.cpython-312-darwin.so": mac}, "m.cpython-312-darwin.so is for macOS; this machine is x86_64"},
		"Windows":            {map[string]string{"a/m.cp312-win_amd64.pyd": windows}, "a/m.cp312-win_amd64.pyd is for Windows"},
		"musl":               {map[string]string{"m.cpython-312-x86_64-linux-musl.so": x86}, "m.cpython-312-x86_64-linux-musl.so is for another platform"},
		"3.11":               {map[string]string{"m.cpython-311-x86_64-linux-gnu.so": x86}, "m.cpython-311-x86_64-linux-gnu.so is for Python 3.11; the runtime is PYTHON_3_12"},
		"3.9":                {map[string]string{"m.cpython-39-x86_64-linux-gnu.so": x86}, "is for Python 3.9; the runtime is PYTHON_3_12"},
		"free-threaded":      {map[string]string{"m.cpython-313t-x86_64-linux-gnu.so": x86}, "is for Python 3.13 without the global lock"},
		"lying name":         {map[string]string{"m.cpython-312-x86_64-linux-gnu.so": arm}, "is for aarch64"},
		"3.11 and abi3":      {map[string]string{"a/m.cpython-311-x86_64-linux-gnu.so": x86, "a/m.abi3.so": x86}, ""},
		"for many":           {map[string]string{"a/m.cpython-311-x86_64-linux-gnu.so": x86, "a/m.cpython-312-x86_64-linux-gnu.so": x86, "a/m.cpython-312-aarch64-linux-gnu.so": arm}, ""},
		"folders for many":   {map[string]string{"a/lib/arm/m.abi3.so": arm, "a/lib/x86/m.abi3.so": x86}, ""},
		"other package's":    {map[string]string{"a/m.abi3.so": arm, "b/m.abi3.so": x86}, "a/m.abi3.so is for aarch64"},
		"data":               {map[string]string{"a/linux-aarch64/m.abi3.so": arm, "a.libs/m.abi3.so": arm, "a/libm.so.6": arm, "a/libm.so": arm, "a/tool": arm}, ""},
		"with plain Python":  {map[string]string{"a/m.py": "", "a/m.cpython-312-aarch64-linux-gnu.so": arm, "0__mypyc.cpython-312-aarch64-linux-gnu.so": arm}, ""},
		"empty":              {map[string]string{"a/m.abi3.so": ""}, ""},
		"empty, for another": {map[string]string{"a/m.cpython-311-x86_64-linux-gnu.so": ""}, "is for Python 3.11"},
	} {
		t.Run(name, func(t *testing.T) {
			passes(t, checkModules(Source{Dir: write(t, c.files), Runtime: isolde.RuntimePython312}, info), c.want)
		})
	}
}

func TestAddonsThatDoNotFit(t *testing.T) {
	program := filepath.Join(t.TempDir(), "node")
	if err := os.WriteFile(program, []byte(x86), 0o755); err != nil {
		t.Fatal(err)
	}
	const modules = "node_modules/"
	onlyMac := map[string]string{modules + "fsevents/fsevents.node": mac, modules + "fsevents/package.json": `{"os": ["darwin"]}`}
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"fits":              {map[string]string{modules + "a/build/Release/a.node": x86}, ""},
		"aarch64":           {map[string]string{modules + "a/build/Release/a.node": arm}, "node_modules/a/build/Release/a.node is for aarch64; this machine is x86_64"},
		"prebuilds":         {map[string]string{modules + "a/prebuilds/linux-arm64/a.node": arm, modules + "a/prebuilds/linux-x64/a.node": x86, modules + "a/prebuilds/win32-x64/a.node": windows}, ""},
		"packages":          {map[string]string{modules + "@img/sharp-linux-arm64/lib/s.node": arm, modules + "@img/sharp-linux-x64/lib/s.node": x86, modules + "@img/sharp-darwin-arm64/s.node": mac}, ""},
		"packages, scope":   {map[string]string{modules + "@esbuild/linux-arm64/x.node": arm, modules + "@esbuild/linux-x64/x.node": x86}, ""},
		"only a Mac's":      {map[string]string{modules + "@img/sharp-darwin-arm64/s.node": mac, modules + "@img/sharp-darwin-arm64/package.json": `{"os": ["darwin"]}`}, "is for macOS"},
		"optional":          {onlyMac, ""},
		"not on Windows":    {map[string]string{modules + "a/a.node": mac, modules + "a/package.json": `{"os": ["!win32"]}`}, "is for macOS"},
		"below a package":   {map[string]string{modules + "a/node_modules/b/b.node": arm, modules + "b/b.node": x86}, "node_modules/a/node_modules/b/b.node is for aarch64"},
		"the agent's own":   {map[string]string{"native/a.node": arm}, "native/a.node is for aarch64"},
		"not native at all": {map[string]string{modules + "a/x.node": "text"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			passes(t, checkAddons(write(t, c.files), nodeInfo{Version: "22.1.0", Program: program}), c.want)
		})
	}
}

// passes checks that there is no error, or that it is the one that is wanted.
func passes(t *testing.T, err error, want string) {
	t.Helper()
	if want != "" {
		refused(t, err, isolde.CodeInvalid, want)
	} else if err != nil {
		t.Error(err)
	}
}
