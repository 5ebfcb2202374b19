package identity

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

var iamActions = map[string]action{
	"CreateRole":                  (*Service).createRole,
	"CreateServiceLinkedRole":     (*Service).createServiceLinkedRole,
	"GetRole":                     (*Service).getRole,
	"ListRoles":                   (*Service).listRoles,
	"UpdateRole":                  (*Service).updateRole,
	"UpdateAssumeRolePolicy":      (*Service).updateAssumeRolePolicy,
	"DeleteRole":                  (*Service).deleteRole,
	"ListInstanceProfilesForRole": (*Service).listInstanceProfilesForRole,
	"TagRole":                     (*Service).tagRole,
	"UntagRole":                   (*Service).untagRole,
	"ListRoleTags":                (*Service).listRoleTags,

	"PutRolePolicy":            (*Service).putRolePolicy,
	"GetRolePolicy":            (*Service).getRolePolicy,
	"ListRolePolicies":         (*Service).listRolePolicies,
	"DeleteRolePolicy":         (*Service).deleteRolePolicy,
	"AttachRolePolicy":         (*Service).attachRolePolicy,
	"DetachRolePolicy":         (*Service).detachRolePolicy,
	"ListAttachedRolePolicies": (*Service).listAttachedRolePolicies,

	"CreatePolicy":       (*Service).createPolicy,
	"GetPolicy":          (*Service).getPolicy,
	"GetPolicyVersion":   (*Service).getPolicyVersion,
	"ListPolicies":       (*Service).listPolicies,
	"ListPolicyVersions": (*Service).listPolicyVersions,
	"DeletePolicy":       (*Service).deletePolicy,
}

// maxRoles and maxPolicies are AWS's default quotas of an account.
const (
	maxRoles    = 1000
	maxPolicies = 1500
)

// roleXML is a role as the API shows it. Documents are percent-encoded there.
type roleXML struct {
	Path                     string
	RoleName                 string
	RoleId                   string
	Arn                      string
	CreateDate               string
	AssumeRolePolicyDocument string
	Description              string `xml:",omitempty"`
	MaxSessionDuration       int
	Tags                     *list[tagXML] `xml:",omitempty"`
}

// list is a list of the query protocol. An empty one is an empty element,
// without which boto3 leaves the member out.
type list[T any] struct {
	Member []T `xml:"member"`
}

type tagXML struct{ Key, Value string }

func (s *Service) showRole(r *role) roleXML {
	x := roleXML{
		Path: r.Path, RoleName: r.Name, RoleId: r.ID, Arn: s.roleARN(r), CreateDate: stamp(r.Created),
		AssumeRolePolicyDocument: encode(r.Trust), Description: r.Description, MaxSessionDuration: r.MaxSession,
	}
	if len(r.Tags) > 0 {
		x.Tags = &list[tagXML]{showTags(r.Tags)}
	}
	return x
}

func (s *Service) roleARN(r *role) string { return s.arn("role" + r.Path + r.Name) }

// encode is RFC 3986's, which SDKs undo, or leave to their caller.
func encode(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}

func showTags(tags map[string]string) (all []tagXML) {
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		all = append(all, tagXML{key, tags[key]})
	}
	return all
}

// role finds the role that a request names.
func (st *state) role(form params) (*role, error) {
	if r := st.Roles[form.Get("RoleName")]; r != nil {
		return r, nil
	}
	return nil, faultf(codeNotFound, "The role with name %s cannot be found.", form.Get("RoleName"))
}

func (s *Service) createRole(form params) (any, error) {
	r := &role{
		Name: form.Get("RoleName"), ID: newID("AROA"), Path: cmp.Or(form.Get("Path"), "/"), Created: time.Now().UTC(),
		Trust: form.Get("AssumeRolePolicyDocument"), Description: form.Get("Description"),
	}
	var err error
	if r.Tags, err = tagsOf(form); err != nil {
		return nil, err
	}
	if r.MaxSession, err = maxSession(form, 3600); err != nil {
		return nil, err
	}
	if err := checkAll(checkName("RoleName", r.Name, 64), checkPath(r.Path), checkDocument("AssumeRolePolicyDocument", r.Trust)); err != nil {
		return nil, err
	}
	return s.addRole(r)
}

func (s *Service) addRole(r *role) (any, error) {
	err := s.change(func(st *state) error {
		if st.Roles[r.Name] != nil {
			return faultf(codeExists, "Role with name %s already exists.", r.Name)
		}
		if len(st.Roles) >= maxRoles {
			return faultf(codeLimit, "there are %d roles, as many as are allowed; delete some", maxRoles)
		}
		st.Roles[r.Name] = r
		return nil
	})
	return struct{ Role roleXML }{s.showRole(r)}, err
}

// createServiceLinkedRole makes the role of a service, under the name that AWS
// would give it, more or less: each service has its own spelling there.
func (s *Service) createServiceLinkedRole(form params) (any, error) {
	service := form.Get("AWSServiceName")
	name, ok := strings.CutSuffix(service, ".amazonaws.com")
	if !ok {
		return nil, faultf(codeValidation, "AWSServiceName %q does not end with .amazonaws.com", service)
	}
	var spelled strings.Builder
	spelled.WriteString("AWSServiceRoleFor")
	for word := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '-' || r == '.' }) {
		spelled.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	r := &role{
		Name: spelled.String(), ID: newID("AROA"), Path: "/aws-service-role/" + service + "/", Created: time.Now().UTC(),
		Trust:       `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":` + strconv.Quote(service) + `},"Action":"sts:AssumeRole"}]}`,
		Description: form.Get("Description"), MaxSession: 3600,
	}
	if suffix := form.Get("CustomSuffix"); suffix != "" {
		r.Name += "_" + suffix
	}
	if err := checkAll(checkName("RoleName", r.Name, 64), checkPath(r.Path)); err != nil {
		return nil, err
	}
	return s.addRole(r)
}

func (s *Service) getRole(form params) (result any, err error) {
	err = s.read(func(st *state) error {
		r, err := st.role(form)
		if err == nil {
			result = struct{ Role roleXML }{s.showRole(r)}
		}
		return err
	})
	return result, err
}

// listRoles leaves out tags, as AWS does.
func (s *Service) listRoles(form params) (any, error) {
	var roles []roleXML
	err := s.read(func(st *state) error {
		for _, name := range slices.Sorted(maps.Keys(st.Roles)) {
			if r := st.Roles[name]; strings.HasPrefix(r.Path, form.Get("PathPrefix")) {
				x := s.showRole(r)
				x.Tags = nil
				roles = append(roles, x)
			}
		}
		return nil
	})
	return struct {
		Roles       list[roleXML]
		IsTruncated bool
	}{Roles: list[roleXML]{roles}}, err
}

func (s *Service) updateRole(form params) (any, error) {
	type result struct{}
	return result{}, s.changeRole(form, func(_ *state, r *role) (err error) {
		if form.Has("Description") {
			r.Description = form.Get("Description")
		}
		r.MaxSession, err = maxSession(form, r.MaxSession)
		return err
	})
}

func (s *Service) updateAssumeRolePolicy(form params) (any, error) {
	document := form.Get("PolicyDocument")
	if err := checkDocument("PolicyDocument", document); err != nil {
		return nil, err
	}
	return nil, s.changeRole(form, func(_ *state, r *role) error { r.Trust = document; return nil })
}

func (s *Service) changeRole(form params, f func(*state, *role) error) error {
	return s.change(func(st *state) error {
		r, err := st.role(form)
		if err != nil {
			return err
		}
		return f(st, r)
	})
}

func (s *Service) deleteRole(form params) (any, error) {
	return nil, s.changeRole(form, func(st *state, r *role) error {
		if len(r.Inline) > 0 {
			return faultf(codeDeleteConflict, "Cannot delete entity, must delete policies first: %s", strings.Join(slices.Sorted(maps.Keys(r.Inline)), ", "))
		}
		if len(r.Attached) > 0 {
			return faultf(codeDeleteConflict, "Cannot delete entity, must detach all policies first: %s", strings.Join(r.Attached, ", "))
		}
		delete(st.Roles, r.Name)
		return nil
	})
}

// listInstanceProfilesForRole finds none: there are none.
func (s *Service) listInstanceProfilesForRole(form params) (any, error) {
	err := s.read(func(st *state) error { _, err := st.role(form); return err })
	return struct {
		InstanceProfiles list[struct{}]
		IsTruncated      bool
	}{}, err
}

func (s *Service) tagRole(form params) (any, error) {
	tags, err := tagsOf(form)
	if err != nil {
		return nil, err
	}
	return nil, s.changeRole(form, func(_ *state, r *role) error {
		if r.Tags == nil {
			r.Tags = map[string]string{}
		}
		maps.Copy(r.Tags, tags)
		if len(r.Tags) > maxTags {
			return faultf(codeLimit, "the role would have %d tags; %d are allowed", len(r.Tags), maxTags)
		}
		return nil
	})
}

func (s *Service) untagRole(form params) (any, error) {
	return nil, s.changeRole(form, func(_ *state, r *role) error {
		for i := 1; form.Has(member("TagKeys", i, "")); i++ {
			delete(r.Tags, form.Get(member("TagKeys", i, "")))
		}
		return nil
	})
}

func (s *Service) listRoleTags(form params) (any, error) {
	var tags []tagXML
	err := s.read(func(st *state) error {
		r, err := st.role(form)
		if err == nil {
			tags = showTags(r.Tags)
		}
		return err
	})
	return struct {
		Tags        list[tagXML]
		IsTruncated bool
	}{Tags: list[tagXML]{tags}}, err
}
