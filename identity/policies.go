package identity

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"
)

// Inline policies: documents that a role holds itself.

func (s *Service) putRolePolicy(form params) (any, error) {
	name, document := form.Get("PolicyName"), form.Get("PolicyDocument")
	if err := checkAll(checkName("PolicyName", name, 128), checkDocument("PolicyDocument", document)); err != nil {
		return nil, err
	}
	return nil, s.changeRole(form, func(_ *state, r *role) error {
		if r.Inline == nil {
			r.Inline = map[string]string{}
		}
		r.Inline[name] = document
		return nil
	})
}

// inline finds the policy that a request names in its role.
func (r *role) inline(form params) (name, document string, err error) {
	name = form.Get("PolicyName")
	document, ok := r.Inline[name]
	if !ok {
		return "", "", faultf(codeNotFound, "The role policy with name %s cannot be found.", name)
	}
	return name, document, nil
}

func (s *Service) getRolePolicy(form params) (result any, err error) {
	err = s.read(func(st *state) error {
		r, err := st.role(form)
		if err != nil {
			return err
		}
		name, document, err := r.inline(form)
		result = struct{ RoleName, PolicyName, PolicyDocument string }{r.Name, name, encode(document)}
		return err
	})
	return result, err
}

func (s *Service) listRolePolicies(form params) (any, error) {
	var names []string
	err := s.read(func(st *state) error {
		r, err := st.role(form)
		if err == nil {
			names = slices.Sorted(maps.Keys(r.Inline))
		}
		return err
	})
	return struct {
		PolicyNames list[string]
		IsTruncated bool
	}{PolicyNames: list[string]{names}}, err
}

func (s *Service) deleteRolePolicy(form params) (any, error) {
	return nil, s.changeRole(form, func(_ *state, r *role) error {
		name, _, err := r.inline(form)
		delete(r.Inline, name)
		return err
	})
}

// Managed policies, and what roles they are attached to.

func (s *Service) attachRolePolicy(form params) (any, error) {
	arn := form.Get("PolicyArn")
	return nil, s.changeRole(form, func(st *state, r *role) error {
		if err := st.attachable(arn); err != nil {
			return err
		}
		if !slices.Contains(r.Attached, arn) {
			r.Attached = append(r.Attached, arn)
		}
		return nil
	})
}

// attachable accepts any policy of AWS's own, whose names nobody here knows.
func (st *state) attachable(arn string) error {
	if rest, ok := strings.CutPrefix(arn, "arn:aws:iam::aws:policy/"); ok {
		return checkName("PolicyArn", policyName(rest), 128)
	}
	_, err := st.policy(arn)
	return err
}

func policyName(arn string) string { return arn[strings.LastIndex(arn, "/")+1:] }

func (st *state) policy(arn string) (*policy, error) {
	if p := st.Policies[arn]; p != nil {
		return p, nil
	}
	return nil, faultf(codeNotFound, "Policy %s does not exist or is not attachable.", arn)
}

func (s *Service) detachRolePolicy(form params) (any, error) {
	arn := form.Get("PolicyArn")
	return nil, s.changeRole(form, func(_ *state, r *role) error {
		at := slices.Index(r.Attached, arn)
		if at < 0 {
			return faultf(codeNotFound, "Policy %s was not found.", arn)
		}
		r.Attached = slices.Delete(r.Attached, at, at+1)
		return nil
	})
}

func (s *Service) listAttachedRolePolicies(form params) (any, error) {
	type attached struct{ PolicyName, PolicyArn string }
	var all []attached
	err := s.read(func(st *state) error {
		r, err := st.role(form)
		if err != nil {
			return err
		}
		for _, arn := range r.Attached {
			all = append(all, attached{policyName(arn), arn})
		}
		return nil
	})
	return struct {
		AttachedPolicies list[attached]
		IsTruncated      bool
	}{AttachedPolicies: list[attached]{all}}, err
}

// policyXML is a managed policy as the API shows it.
type policyXML struct {
	PolicyName       string
	PolicyId         string
	Arn              string
	Path             string
	DefaultVersionId string
	AttachmentCount  int
	IsAttachable     bool
	Description      string `xml:",omitempty"`
	CreateDate       string
	UpdateDate       string
	Tags             list[tagXML]
}

func (st *state) showPolicy(arn string, p *policy) policyXML {
	return policyXML{
		PolicyName: p.Name, PolicyId: p.ID, Arn: arn, Path: p.Path, DefaultVersionId: theVersion, AttachmentCount: len(st.rolesWith(arn)),
		IsAttachable: true, Description: p.Description, CreateDate: stamp(p.Created), UpdateDate: stamp(p.Created), Tags: list[tagXML]{showTags(p.Tags)},
	}
}

// theVersion is the one that a policy has.
const theVersion = "v1"

func (st *state) rolesWith(arn string) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(st.Roles)) {
		if slices.Contains(st.Roles[name].Attached, arn) {
			names = append(names, name)
		}
	}
	return names
}

func (s *Service) createPolicy(form params) (result any, err error) {
	p := &policy{
		Name: form.Get("PolicyName"), ID: newID("ANPA"), Path: cmp.Or(form.Get("Path"), "/"), Created: time.Now().UTC(),
		Document: form.Get("PolicyDocument"), Description: form.Get("Description"),
	}
	if p.Tags, err = tagsOf(form); err != nil {
		return nil, err
	}
	if err := checkAll(checkName("PolicyName", p.Name, 128), checkPath(p.Path), checkDocument("PolicyDocument", p.Document)); err != nil {
		return nil, err
	}
	arn := s.arn("policy" + p.Path + p.Name)
	err = s.change(func(st *state) error {
		if st.Policies[arn] != nil {
			return faultf(codeExists, "A policy called %s already exists. Duplicate names are not allowed.", p.Name)
		}
		if len(st.Policies) >= maxPolicies {
			return faultf(codeLimit, "there are %d policies, as many as are allowed; delete some", maxPolicies)
		}
		st.Policies[arn] = p
		result = struct{ Policy policyXML }{st.showPolicy(arn, p)}
		return nil
	})
	return result, err
}

// readPolicy shows something of the policy that a request names.
func (s *Service) readPolicy(form params, show func(st *state, arn string, p *policy) any) (result any, err error) {
	err = s.read(func(st *state) error {
		arn := form.Get("PolicyArn")
		p, err := st.policy(arn)
		if err == nil {
			result = show(st, arn, p)
		}
		return err
	})
	return result, err
}

func (s *Service) getPolicy(form params) (any, error) {
	return s.readPolicy(form, func(st *state, arn string, p *policy) any {
		return struct{ Policy policyXML }{st.showPolicy(arn, p)}
	})
}

func (s *Service) listPolicies(form params) (any, error) {
	var all []policyXML
	err := s.read(func(st *state) error {
		for _, arn := range slices.Sorted(maps.Keys(st.Policies)) {
			p := st.Policies[arn]
			attached := form.Get("OnlyAttached") != "true" || len(st.rolesWith(arn)) > 0
			if form.Get("Scope") != "AWS" && attached && strings.HasPrefix(p.Path, form.Get("PathPrefix")) {
				all = append(all, st.showPolicy(arn, p))
			}
		}
		return nil
	})
	return struct {
		Policies    list[policyXML]
		IsTruncated bool
	}{Policies: list[policyXML]{all}}, err
}

// versionXML is the version of a policy as the API shows it.
type versionXML struct {
	Document         string `xml:",omitempty"`
	VersionId        string
	IsDefaultVersion bool
	CreateDate       string
}

func (s *Service) getPolicyVersion(form params) (any, error) {
	if id := form.Get("VersionId"); id != theVersion {
		return nil, faultf(codeNotFound, "Policy %s version %s does not exist or is not attachable; a policy has one, %s", form.Get("PolicyArn"), id, theVersion)
	}
	return s.readPolicy(form, func(_ *state, _ string, p *policy) any {
		return struct{ PolicyVersion versionXML }{versionXML{encode(p.Document), theVersion, true, stamp(p.Created)}}
	})
}

func (s *Service) listPolicyVersions(form params) (any, error) {
	return s.readPolicy(form, func(_ *state, _ string, p *policy) any {
		return struct {
			Versions    list[versionXML]
			IsTruncated bool
		}{Versions: list[versionXML]{[]versionXML{{"", theVersion, true, stamp(p.Created)}}}}
	})
}

func (s *Service) deletePolicy(form params) (any, error) {
	arn := form.Get("PolicyArn")
	return nil, s.change(func(st *state) error {
		if _, err := st.policy(arn); err != nil {
			return err
		}
		if roles := st.rolesWith(arn); len(roles) > 0 {
			return faultf(codeDeleteConflict, "Cannot delete a policy attached to entities: %s", strings.Join(roles, ", "))
		}
		delete(st.Policies, arn)
		return nil
	})
}
