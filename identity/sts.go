package identity

import (
	"crypto/rand"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
)

var stsActions = map[string]action{
	"AssumeRole":        (*Service).assumeRole,
	"GetCallerIdentity": (*Service).getCallerIdentity,
	"GetSessionToken":   (*Service).getSessionToken,
}

// userID is that of the one user there is.
const userID = "AIDAISOLDE00000000000"

func (s *Service) getCallerIdentity(form params) (any, error) {
	type result struct{ Arn, UserId, Account string }
	if form.caller == nil {
		return result{s.arn("user/isolde"), userID, s.account}, nil
	}
	return result{s.arn("user/" + form.caller.Name), form.caller.KeyID, s.account}, nil
}

// credentials are what a client signs with until they expire.
type credentials struct {
	AccessKeyId     string
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

// newCredentials are a temporary key of the caller's, or, where nobody is
// asked for keys, anything.
func (s *Service) newCredentials(form params, life time.Duration) (credentials, error) {
	if form.caller == nil || s.keys == nil {
		return credentials{
			AccessKeyId: newID("ASIA")[:20], SecretAccessKey: (rand.Text() + rand.Text())[:40], SessionToken: rand.Text() + rand.Text(),
			Expiration: stamp(time.Now().Add(life)),
		}, nil
	}
	key, expires, err := s.keys.Issue(*form.caller, life)
	if err != nil {
		return credentials{}, faultf("AccessDenied", "%s", isolde.AsError(err).Error())
	}
	return credentials{key.ID, string(key.Secret), string(key.SessionToken), stamp(expires)}, nil
}

var (
	roleARNRE     = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/([!-~]*/)?([\w+=,.@-]{1,64})$`)
	sessionNameRE = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
)

// assumeRole takes any role, of any account, whether it exists or not: what it
// returns grants nothing that the caller has not already.
func (s *Service) assumeRole(form params) (any, error) {
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
	made, err := s.newCredentials(form, life)
	if err != nil {
		return nil, err
	}
	account := strings.Split(arn, ":")[4]
	type user struct{ AssumedRoleId, Arn string }
	return struct {
		Credentials     credentials
		AssumedRoleUser user
	}{made, user{id + ":" + session, "arn:aws:sts::" + account + ":assumed-role/" + m[2] + "/" + session}}, nil
}

func (s *Service) getSessionToken(form params) (any, error) {
	life, err := duration(form, 900, 129600, 43200)
	if err != nil {
		return nil, err
	}
	made, err := s.newCredentials(form, life)
	return struct{ Credentials credentials }{made}, err
}

func duration(form params, least, most, standard int) (time.Duration, error) {
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
