package image

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/isolde-run/isolde"
)

// Installers read a good deal into a requirements file: other encodings, other
// ends of lines, variables, abbreviated options, files of this machine, whose
// first line they then show in an error. So they are given lines of ours, which
// say what was understood here and nothing else.

// commentRE is what installers take for a comment.
var commentRE = regexp.MustCompile(`(^|\s+)#.*$`)

// requirementLines are the lines of a requirements file, without comments and
// continued lines in one.
func requirementLines(text string) []string {
	var lines []string
	held := ""
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			line = ""
		}
		if more, ok := strings.CutSuffix(line, `\`); ok {
			held += more + " "
			continue
		}
		line = strings.TrimSpace(commentRE.ReplaceAllString(held+line, ""))
		held = ""
		if line != "" {
			lines = append(lines, line)
		}
	}
	if held = strings.TrimSpace(commentRE.ReplaceAllString(held, "")); held != "" {
		lines = append(lines, held)
	}
	return lines
}

// variableRE is a variable of the environment, which installers fill in.
var variableRE = regexp.MustCompile(`\$\{[A-Z0-9_]+\}`)

// checkLine refuses what must not reach an installer.
func (r *requirements) checkLine(line string) error {
	odd := func(c rune) bool { return unicode.IsControl(c) && c != '\t' || c == '\u2028' || c == '\u2029' }
	switch {
	case !utf8.ValidString(line) || strings.ContainsFunc(line, odd) || strings.HasSuffix(line, `\`):
		return isolde.Errorf(isolde.CodeInvalid, "%s: %q is not plain text", r.name, line).WithHint("save the file in UTF-8")
	case r.scripts:
		return nil // a package's own code could do all that follows
	case variableRE.MatchString(line):
		return isolde.Errorf(isolde.CodeInvalid, "%s: %q names a variable of the server's environment", r.name, line).
			WithHint("write the value, or start the server with PIP_EXTRA_INDEX_URL or UV_EXTRA_INDEX_URL set")
	case strings.Contains(strings.ToLower(line), "file:"):
		return isolde.Errorf(isolde.CodeInvalid, "%s: %q names a file of the server's machine", r.name, line).
			WithHint("put the wheel into the agent's folder and name it as ./wheel.whl")
	}
	return nil
}

// option is one option of a requirements file.
type option struct{ name, value string }

// Options by what follows them. Others are refused: what an installer makes of
// them is not known here.
var (
	plainOptions = []string{"--pre", "--no-index", "--prefer-binary", "--require-hashes"}
	wordOptions  = []string{"--trusted-host", "--use-feature", "--no-binary", "--only-binary"}
	indexOptions = []string{"-i", "--index-url", "--extra-index-url"}
	fileOptions  = []string{"-r", "--requirement", "-c", "--constraint"}
	linksOptions = []string{"-f", "--find-links"}
	buildOptions = []string{"-e", "--editable"}
)

// options reads a line of options.
func (r *requirements) options(line string) ([]option, error) {
	refused := func(why string) error {
		return isolde.Errorf(isolde.CodeInvalid, "%s: %q %s", r.name, line, why).
			WithHint("an agent's requirements can hold packages, -r, -c, -f and the options of indexes, each written out")
	}
	if strings.ContainsAny(line, "\"'\\") {
		return nil, refused("has quotes, which are not supported")
	}
	valued := slices.Concat(wordOptions, indexOptions, fileOptions, linksOptions, buildOptions)
	var found []option
	for words := strings.Fields(line); len(words) > 0; {
		name, value, given := strings.Cut(words[0], "=")
		words = words[1:]
		if !strings.HasPrefix(name, "--") && len(name) > 2 { // "-rmore.txt"
			if given {
				value = "=" + value
			}
			name, value, given = name[:2], name[2:]+value, true
		}
		switch {
		case slices.Contains(plainOptions, name) && !given:
		case !slices.Contains(valued, name):
			return nil, refused("has the option " + name + ", which is not supported")
		case !given && len(words) == 0:
			return nil, refused("lacks a value")
		case !given:
			value, words = words[0], words[1:]
		}
		if slices.Contains(indexOptions, name) && !isRemote(value) {
			return nil, refused("names no http address of an index")
		}
		found = append(found, option{name, value})
	}
	return found, nil
}

func isRemote(address string) bool {
	return strings.HasPrefix(address, "https://") || strings.HasPrefix(address, "http://")
}

// localName is the file or folder that a requirement names; empty if it names
// a package or an address.
func localName(line string) string {
	word, _, _ := strings.Cut(line, ";")
	if strings.Contains(word, "://") {
		return ""
	}
	if _, at, ok := strings.Cut(word, "@"); ok {
		word = at
	}
	fields := strings.Fields(word)
	if len(fields) == 0 {
		return ""
	}
	word, _, _ = strings.Cut(fields[0], "[")
	if strings.ContainsAny(word, `/\`) || strings.HasPrefix(word, ".") || strings.HasSuffix(word, ".whl") {
		return word
	}
	return ""
}

// configuresInstaller tells names that installers read settings from.
func configuresInstaller(name string) bool {
	return slices.Contains([]string{"uv.toml", "pyproject.toml", ".python-version", "pip.conf", "pip.ini"}, path.Base(name))
}
