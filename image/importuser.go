package image

import (
	"bufio"
	"bytes"
	"io"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/isolde-run/isolde"
)

// account is whom an image's process runs as.
type account struct {
	uid, gid uint32
	home     string
}

// maxAccounts bounds how much of /etc/passwd and /etc/group is read, in bytes.
const maxAccounts = 1 << 20

// account finds the image's USER in its own /etc/passwd and /etc/group, as
// docker run does: a name or a number, and a group after a colon; a number that
// is not listed is taken as it is, with group 0.
func (p *pull) account(f *flattener) (account, error) {
	user, group, grouped := strings.Cut(p.config.Config.User, ":")
	if user == "" {
		user = "0"
	}
	a := account{home: "/"}
	uid, numeric := parseID(user)
	row := findRow(f, "/etc/passwd", 7, user, uid, numeric)
	switch {
	case row != nil:
		var ok1, ok2 bool
		a.uid, ok1 = parseID(row[2])
		a.gid, ok2 = parseID(row[3])
		if !ok1 || !ok2 {
			return a, isolde.Errorf(isolde.CodeInvalid, "%s: the line of user %q in its /etc/passwd has no numbers", p.name, user).
				WithHint("make the user with useradd in the Dockerfile")
		}
		if path.IsAbs(row[5]) && !strings.Contains(row[5], "\x00") {
			a.home = row[5]
		}
	case numeric:
		a.uid = uid
	default:
		return a, isolde.Errorf(isolde.CodeInvalid, "%s runs as user %q, which its /etc/passwd does not name", p.name, brief(user)).
			WithHint("make the user in the Dockerfile, or give its number: USER 1000")
	}
	if !grouped || group == "" {
		return a, nil
	}
	gid, numeric := parseID(group)
	if row := findRow(f, "/etc/group", 4, group, gid, numeric); row != nil {
		if id, ok := parseID(row[2]); ok {
			a.gid = id
			return a, nil
		}
	}
	if !numeric {
		return a, isolde.Errorf(isolde.CodeInvalid, "%s runs as group %q, which its /etc/group does not name", p.name, brief(group)).
			WithHint("make the group in the Dockerfile, or give its number: USER %s:1000", brief(user))
	}
	a.gid = gid
	return a, nil
}

// findRow is the first line of a file like /etc/passwd whose name is who, or
// whose third field is the number id.
func findRow(f *flattener, file string, fields int, who string, id uint32, numeric bool) []string {
	n, err := f.lookup(file, false)
	if err != nil || !n.Mode.IsRegular() || n.Source == nil {
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(n.Source, n.Offset, min(n.Size, maxAccounts)))
	if err != nil {
		return nil
	}
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, maxAccounts+1)
	for lines.Scan() {
		row := strings.Split(lines.Text(), ":")
		if len(row) < fields {
			continue
		}
		if has, ok := parseID(row[2]); row[0] == who || (numeric && ok && has == id) {
			return row
		}
	}
	return nil
}

// parseID reads the number of a user or group.
func parseID(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n <= math.MaxInt32
}
