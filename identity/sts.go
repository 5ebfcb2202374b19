package identity

import (
	"crypto/rand"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var stsActions = map[string]action{
	"AssumeRole":        (*Service).assumeRole,
	"GetCallerIdentity": (*Service).getCallerIdentity,
	"GetSessionToken":   (*Service).getSessionToken,
}

// userID is that of the one user there is.
const userID = "AIDAISOLDE00000000000"

func (s *Service) getCallerIdentity(url.Values) (any, error) {
	type result struct{ Arn, UserId, Account string }
	return result{s.arn("user/isolde"), userID, s.account}, nil
}

// credentials are good for Isolde, like any others.
type credentials struct {
	AccessKeyId     string
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

func newCredentials(life time.Duration) credentials {
	return credentials{
		AccessKeyId: newID("ASIA")[:20], SecretAccessKey: (rand.Text() + rand.Text())[:40], SessionToken: rand.Text() + rand.Text(),
		Expiration: stamp(time.Now().Add(life)),
	}
}

var (
	roleARNRE     = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-~]*/)?([\w+=,.@-]{1,64})$`)
	sessionNameRE = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

// assumeRole takes any role, of any account, whether it exists or not: what it
// returns grants nothing that the caller has not already.
func (s *Service) assumeRole(form url.Values) (any, error) {
	arn, session := form.Get("RoleArn"), form.Get("RoleSessionName")
	m := roleARNRE.FindStringSubmatch(arn)
	if m == nil {
		return nil, faultf(codeValidation, "RoleArn %q is not the ARN of a role, such as %s", arn, s.arn("role/name"))
	}
	if !sessionNameRE.MatchString(session) {
		return nil, faultf(codeValidation, "RoleSessionName %q must hold 2 to 64 letters, digits and any of _+=,.@-", session)
	}
	life, err := duration(form, 900, 43200, 3600)
	if err != nil {
		return nil, err
	}
	id := newID("AROA")
	_ = s.read(func(st *state) error { // it never fails
		if r := st.Roles[m[2]]; r != nil {
			id = r.ID
		}
		return nil
	})
	account := strings.Split(arn, ":")[4]
	type user struct{ AssumedRoleId, Arn string }
	return struct {
		Credentials     credentials
		AssumedRoleUser user
	}{newCredentials(life), user{id + ":" + session, "arn:aws:sts::" + account + ":assumed-role/" + m[2] + "/" + session}}, nil
}

func (s *Service) getSessionToken(form url.Values) (any, error) {
	life, err := duration(form, 900, 129600, 43200)
	return struct{ Credentials credentials }{newCredentials(life)}, err
}

func duration(form url.Values, least, most, standard int) (time.Duration, error) {
	text := form.Get("DurationSeconds")
	if text == "" {
		return time.Duration(standard) * time.Second, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, faultf(codeValidation, "DurationSeconds %q must be %d to %d", text, least, most)
	}
	return time.Duration(n) * time.Second, nil
}

// arn is that of something of IAM's in the account.
func (s *Service) arn(resource string) string { return "arn:aws:iam::" + s.account + ":" + resource }

// newID is a unique id of AWS's shape: four letters for the kind, 17 for the thing.
func newID(kind string) string { return kind + rand.Text()[:17] }

// stamp writes a time as AWS's XML does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
