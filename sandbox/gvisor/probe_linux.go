package gvisor

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/erofs/go-erofs"
)

// probeExit is what the probe's program exits with.
const probeExit = 42

// writeProbeImage writes an EROFS image whose /probe exits with probeExit.
func writeProbeImage(path string) error {
	program, err := probeProgram()
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := erofs.Create(f, erofs.WithTempDir(filepath.Dir(path)))
	if err := w.Mkdir("/etc", 0o755); err != nil {
		return err
	}
	out, err := w.Create("/probe")
	if err != nil {
		return err
	}
	if _, err := out.Write(program); err != nil {
		return err
	}
	if err := out.Chmod(0o755); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

// probeProgram is the smallest Linux executable that does something one can
// see: exit_group(probeExit). It is made here, so that a probe needs no
// compiler and nothing of the host's.
func probeProgram() ([]byte, error) {
	var code []byte
	var machine uint16
	switch runtime.GOARCH {
	case "amd64":
		machine = 62
		code = []byte{
			0xbf, probeExit, 0, 0, 0, // mov edi, probeExit
			0xb8, 231, 0, 0, 0, // mov eax, exit_group
			0x0f, 0x05, // syscall
		}
	case "arm64":
		machine = 183
		for _, instruction := range []uint32{
			0xd2800000 | probeExit<<5, // mov x0, probeExit
			0xd2800008 | 94<<5,        // mov x8, exit_group
			0xd4000001,                // svc 0
		} {
			code = binary.LittleEndian.AppendUint32(code, instruction)
		}
	default:
		return nil, fmt.Errorf("there is no probe for %s", runtime.GOARCH)
	}
	const base, header, entry = 0x400000, 64, 64 + 56
	size := uint64(entry + len(code))
	var b bytes.Buffer
	for _, part := range []any{
		// The ELF header.
		[16]byte{0x7f, 'E', 'L', 'F', 2, 1, 1},
		uint16(2), machine, uint32(1), // executable
		uint64(base + entry), uint64(header), uint64(0), // entry, program headers, sections
		uint32(0), uint16(header), uint16(56), uint16(1), uint16(64), uint16(0), uint16(0),
		// One program header: load the whole file, to read and execute.
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000),
		code,
	} {
		if err := binary.Write(&b, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	// gVisor maps whole blocks of the image: less than one would be stored
	// beside the file's inode, where it cannot be mapped.
	return append(b.Bytes(), make([]byte, 4096-b.Len())...), nil
}
