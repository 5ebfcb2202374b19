package identity

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

var (
	nameRE = regexp.MustCompile(`^[\w+=,.@-]+$`)
	pathRE = regexp.MustCompile(`^/([!-~]+/)?$`)
)

// maxDocument bounds a policy document, in characters, as IAM's model does.
const maxDocument = 131072

// checkAll is the first of the errors.
func checkAll(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkName(field, name string, most int) error {
	if len(name) > most || !nameRE.MatchString(name) {
		return faultf(codeValidation, "%s %q must hold 1 to %d letters, digits and any of _+=,.@-", field, name, most)
	}
	return nil
}

func checkPath(path string) error {
	if len(path) > 512 || !pathRE.MatchString(path) {
		return faultf(codeValidation, "Path %q must begin and end with / and hold at most 512 visible characters", path)
	}
	return nil
}

// checkDocument accepts any JSON object. What it says is nobody's business
// here, as nothing is enforced.
func checkDocument(field, document string) error {
	if n := utf8.RuneCountInString(document); n == 0 || n > maxDocument {
		return faultf(codeValidation, "%s has %d characters; 1 to %d are allowed", field, n, maxDocument)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(document), &object); err != nil || object == nil {
		return faultf(codeMalformedDoc, "%s is not a JSON object", field)
	}
	return nil
}

func maxSession(form params, standard int) (int, error) {
	text := form.Get("MaxSessionDuration")
	if text == "" {
		return standard, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 3600 || n > 43200 {
		return 0, faultf(codeValidation, "MaxSessionDuration %q must be 3600 to 43200", text)
	}
	return n, nil
}

// maxTags is how many tags a role or policy may have.
const maxTags = 50

// tagsOf reads Tags.member.1.Key, Tags.member.1.Value and so on.
func tagsOf(form params) (map[string]string, error) {
	tags := map[string]string{}
	for i := 1; form.Has(member("Tags", i, ".Key")); i++ {
		key, value := form.Get(member("Tags", i, ".Key")), form.Get(member("Tags", i, ".Value"))
		if n := utf8.RuneCountInString(key); n < 1 || n > 128 || utf8.RuneCountInString(value) > 256 || strings.HasPrefix(strings.ToLower(key), "aws:") {
			return nil, faultf(codeValidation, "tag %q must have a key of 1 to 128 characters that does not begin with aws:, and a value of at most 256", key)
		}
		tags[key] = value
	}
	if len(tags) > maxTags {
		return nil, faultf(codeLimit, "%d tags are more than the %d that are allowed", len(tags), maxTags)
	}
	return tags, nil
}

// member is the name of a list's item in a form.
func member(list string, i int, field string) string {
	return list + ".member." + strconv.Itoa(i) + field
}
