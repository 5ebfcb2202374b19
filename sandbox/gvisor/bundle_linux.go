package gvisor

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
)

// What is in a sandbox's folder.
const (
	recordFile = "sandbox.json" // see record
	bundleDir  = "bundle"       // config.json and an empty rootfs
	mountsDir  = "mounts"       // where mounts are, in the sandbox's mount namespace
	upperFile  = "upper.tar"    // the session's own files over the image
	stateDir   = "runsc"        // runsc's --root
	pidFile    = "pid"          // of the sandbox's process, by runsc
	errorFile  = "error.log"    // runsc's own messages, as JSON lines
	debugDir   = "debug"        // gVisor's log, with Config.Debug
)

// containerID is runsc's name of the sandbox. Each has a --root of its own,
// so that it may be short.
const containerID = "agent"

// writeBundle writes what runsc reads at the start.
func writeBundle(dir string, spec sandbox.Spec, link *network.Link) error {
	bundle := filepath.Join(dir, bundleDir)
	if err := os.MkdirAll(filepath.Join(bundle, "rootfs"), 0o700); err != nil {
		return err
	}
	config, err := json.Marshal(ociSpec(dir, spec, link))
	if err != nil {
		return err
	}
	upper, err := upperTar(spec, link)
	if err != nil {
		return err
	}
	// Both are for root only: the environment may hold keys.
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, upperFile), upper, 0o600)
}

func ociSpec(dir string, spec sandbox.Spec, link *network.Link) *specs.Spec {
	config := &specs.Spec{
		Version:  "1.2.0",
		Process:  ociProcess(spec),
		Hostname: hostname(spec),
		Root:     &specs.Root{Path: filepath.Join(dir, bundleDir, "rootfs")},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"ro", "nosuid", "nodev", "noexec"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
			{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "nodev", "mode=1777", "size=" + strconv.FormatInt(diskBytes(spec), 10)}},
		},
		Annotations: map[string]string{
			"dev.gvisor.spec.rootfs.type":    "erofs",
			"dev.gvisor.spec.rootfs.source":  spec.Root.Image,
			"dev.gvisor.spec.rootfs.overlay": "memory",
			"dev.gvisor.spec.rootfs.options": "size=" + strconv.FormatInt(diskBytes(spec), 10),
			"dev.gvisor.tar.rootfs.upper":    filepath.Join(dir, upperFile),
		},
		Linux: &specs.Linux{
			CgroupsPath: groupName(string(spec.ID)),
			// runsc takes the sandbox's CPU count from here; the limit itself
			// is set on the group before.
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace},
				{Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace},
				{Type: specs.MountNamespace},
				{Type: specs.NetworkNamespace, Path: link.Path},
			},
		},
	}
	for _, m := range mountsOf(dir, spec) {
		m.addTo(config)
	}
	return config
}

func ociProcess(spec sandbox.Spec) *specs.Process {
	dir := spec.Dir
	if dir == "" {
		dir = "/"
	}
	p := &specs.Process{
		User:            specs.User{UID: spec.UID, GID: spec.GID},
		Args:            spec.Command,
		Env:             spec.Env,
		Cwd:             dir,
		NoNewPrivileges: true,
		Capabilities:    &specs.LinuxCapabilities{},
		Rlimits:         []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 65536, Hard: 65536}},
	}
	if spec.UID == 0 {
		p.Capabilities = &specs.LinuxCapabilities{Bounding: rootCapabilities, Effective: rootCapabilities, Permitted: rootCapabilities}
	}
	return p
}

// rootCapabilities are what an agent that runs as root has of a root's
// powers, over its own kernel: those that containers usually have, without
// raw sockets and device nodes.
var rootCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
	"CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

func hostname(spec sandbox.Spec) string {
	if spec.Hostname != "" {
		return spec.Hostname
	}
	return string(spec.ID)
}

// diskBytes is how much the agent may write. It is kept in memory, and must
// leave some of that to the agent.
func diskBytes(spec sandbox.Spec) int64 {
	r := spec.Resources.WithDefaults()
	return min(r.DiskBytes, r.MemoryBytes/2)
}

// upperTar holds what differs between sandboxes of one image. It is unpacked
// over the image before the agent starts, in the layer that its writes go to.
// A bind mount of each file would cost a second process for each sandbox.
func upperTar(spec sandbox.Spec, link *network.Link) ([]byte, error) {
	hosts := fmt.Sprintf("127.0.0.1\tlocalhost\n%s\t%s\n", link.Addr, hostname(spec))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	now := time.Now()
	for _, f := range []struct {
		name string // gVisor wants "./" in front of all
		mode int64
		data string
	}{
		{"./", 0o755, ""},
		{"./etc/", 0o755, ""},
		{"./etc/hosts", 0o644, hosts},
		{"./etc/hostname", 0o644, hostname(spec) + "\n"},
		{"./etc/resolv.conf", 0o644, string(link.ResolvConf())},
		// gVisor mounts a file system without a bound on an empty /tmp.
		{"./tmp/", 0o1777, ""},
		{"./tmp/.isolde/", 0o700, ""},
	} {
		h := &tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data)), ModTime: now, Typeflag: tar.TypeReg}
		if f.name[len(f.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.data)); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), w.Close()
}
