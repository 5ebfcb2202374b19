package isolde

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// The patterns and bounds of the control plane's model.
var (
	roleRE          = regexp.MustCompile(`^arn:aws(-[^:]+)?:iam::([0-9]{12})?:role/.+$`)
	securityGroupRE = regexp.MustCompile(`^sg-[0-9a-zA-Z]{8,17}$`)
	subnetRE        = regexp.MustCompile(`^subnet-[0-9a-zA-Z]{8,17}$`)
	discoveryRE     = regexp.MustCompile(`^.+/\.well-known/(openid-configuration|oauth-authorization-server)(/.*)?$`)
	scopeRE         = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]{1,255}$`)
	headerRE        = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,255}$`)
	mountRE         = regexp.MustCompile(`^/mnt/[a-zA-Z0-9._-]+/?$`)
	tagRE           = regexp.MustCompile(`^[a-zA-Z0-9\s._:/=+@-]*$`)
	tokenRE         = regexp.MustCompile(`^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,256}$`)
)

// The ports that an agent may have, but for reservedPort.
const (
	minPort      = 8000
	maxPort      = 12000
	reservedPort = 8443
)

func (n *NetworkConfiguration) check(p *Problems) {
	const field = "networkConfiguration"
	switch {
	case n.Mode != NetworkPublic && n.Mode != NetworkVPC:
		p.Add(field+".networkMode", "%q is none of %s, %s", n.Mode, NetworkPublic, NetworkVPC)
	case n.Mode == NetworkVPC && n.VPC == nil:
		p.Add(field+".networkModeConfig", "is missing; networkMode VPC needs it")
	}
	if n.VPC == nil {
		return
	}
	checkList(p, field+".networkModeConfig.securityGroups", n.VPC.SecurityGroups, 1, 16, securityGroupRE)
	checkList(p, field+".networkModeConfig.subnets", n.VPC.Subnets, 1, 16, subnetRE)
}

func (a *Authorizer) check(p *Problems) {
	const field = "authorizerConfiguration.customJWTAuthorizer"
	j := a.JWT
	if j == nil {
		p.Add("authorizerConfiguration", "must be customJWTAuthorizer")
		return
	}
	if !discoveryRE.MatchString(j.DiscoveryURL) {
		p.Add(field+".discoveryUrl", "%q must end with /.well-known/openid-configuration", j.DiscoveryURL)
	}
	checkList(p, field+".allowedScopes", j.AllowedScopes, 0, 1<<10, scopeRE)
	if len(j.AdvertisedScopeMapping) > 50 {
		p.Add(field+".advertisedScopeMapping", "has %d entries; at most 50 are allowed", len(j.AdvertisedScopeMapping))
	}
	if len(j.PrivateEndpointOverrides) > 5 {
		p.Add(field+".privateEndpointOverrides", "has %d entries; at most 5 are allowed", len(j.PrivateEndpointOverrides))
	}
	for i, c := range j.CustomClaims {
		c.check(p, fmt.Sprintf("%s.customClaims[%d]", field, i))
	}
}

func (c ClaimRule) check(p *Problems, field string) {
	p.Length(field+".inboundTokenClaimName", c.Name, 1, 255)
	checkOneOf(p, field+".inboundTokenClaimValueType", c.Type, "STRING", "STRING_ARRAY")
	field += ".authorizingClaimMatchValue"
	checkOneOf(p, field+".claimMatchOperator", c.Match.Operator, "EQUALS", "CONTAINS", "CONTAINS_ANY")
	if (c.Match.Value.String == nil) == (c.Match.Value.Strings == nil) {
		p.Add(field+".claimMatchValue", "must be matchValueString or matchValueStringList")
	}
}

func (a AllowedPort) span() (from, to int, ok bool) {
	switch {
	case a.Port != nil && a.Range == nil:
		return *a.Port, *a.Port, true
	case a.Range != nil && a.Port == nil:
		return a.Range.From, a.Range.To, true
	}
	return 0, 0, false
}

func checkPorts(p *Problems, ports []AllowedPort) {
	if len(ports) > 5 {
		p.Add("allowedPorts", "has %d entries; at most 5 are allowed", len(ports))
	}
	for i, a := range ports {
		field := fmt.Sprintf("allowedPorts[%d]", i)
		from, to, ok := a.span()
		switch {
		case !ok:
			p.Add(field, "must be port or portRange")
			continue
		case from < minPort || to > maxPort || from > to || from <= reservedPort && reservedPort <= to:
			p.Add(field, "%s must be within %d to %d without %d", portText(from, to), minPort, maxPort, reservedPort)
		}
		for _, b := range ports[:i] {
			if f, t, ok := b.span(); ok && from <= t && f <= to {
				p.Add(field, "%s overlaps %s", portText(from, to), portText(f, t))
			}
		}
	}
}

func portText(from, to int) string {
	if from == to {
		return fmt.Sprint(from)
	}
	return fmt.Sprintf("%d-%d", from, to)
}

// checkMountPaths checks what a session sees below /mnt.
func checkMountPaths(p *Problems, all []Filesystem, folders []Mount) {
	const field, folderField = "filesystemConfigurations", "mounts"
	if len(all) > 5 {
		p.Add(field, "has %d entries; at most 5 are allowed", len(all))
	}
	if len(folders) > maxMounts {
		p.Add(folderField, "has %d entries; at most %d are allowed", len(folders), maxMounts)
	}
	seen := make(map[string]bool)
	for i, f := range all {
		at := fmt.Sprintf("%s[%d]", field, i)
		mounts := f.mounts()
		if len(mounts) != 1 {
			p.Add(at, "must be one of sessionStorage, s3FilesAccessPoint, efsAccessPoint, capacityProviderVolume")
			continue
		}
		checkMountPath(p, at+"."+mounts[0].kind+".mountPath", mounts[0].path, seen)
	}
	for i, m := range folders {
		at := fmt.Sprintf("%s[%d]", folderField, i)
		checkMountPath(p, at+".path", m.Path, seen)
		if !path.IsAbs(m.Folder) || path.Clean(m.Folder) != m.Folder || strings.Contains(m.Folder, "\x00") {
			p.Add(at+".folder", "%q must be an absolute path without . and ..", shorten(m.Folder))
		}
	}
}

// maxMounts bounds the folders of the server's machine in a session.
const maxMounts = 16

// checkMountPath checks one, which must not be among those seen before.
func checkMountPath(p *Problems, field, at string, seen map[string]bool) {
	if !mountRE.MatchString(at) || len(at) > 200 || slices.Contains([]string{".", ".."}, strings.Trim(strings.TrimPrefix(at, "/mnt/"), "/")) {
		p.Add(field, "%q must be a folder below /mnt, such as /mnt/data", shorten(at))
	}
	if at = strings.TrimSuffix(at, "/"); seen[at] {
		p.Add(field, "%q is there twice", at)
	}
	seen[at] = true
}

type mount struct{ kind, path string }

func (f Filesystem) mounts() []mount {
	var all []mount
	if f.Session != nil {
		all = append(all, mount{"sessionStorage", f.Session.MountPath})
	}
	if f.S3Files != nil {
		all = append(all, mount{"s3FilesAccessPoint", f.S3Files.MountPath})
	}
	if f.EFS != nil {
		all = append(all, mount{"efsAccessPoint", f.EFS.MountPath})
	}
	if f.Capacity != nil {
		all = append(all, mount{"capacityProviderVolume", f.Capacity.MountPath})
	}
	return all
}

// CheckTags adds what is wrong with a resource's tags.
func CheckTags(p *Problems, tags map[string]string) {
	if len(tags) > MaxTags {
		p.Add("tags", "has %d entries; at most %d are allowed", len(tags), MaxTags)
	}
	for k, v := range tags {
		p.Length("tags key", k, 1, 128)
		p.Length("tags."+k, v, 0, 256)
		if !tagRE.MatchString(k) || !tagRE.MatchString(v) {
			p.Add("tags."+k, "may hold letters, digits, spaces and ._:/=+@- only")
		}
	}
}

// MaxTags is how many tags a resource may have.
const MaxTags = 50

// CheckToken adds what is wrong with a client token; an empty one is fine.
func CheckToken(p *Problems, token string) {
	if token == "" {
		return
	}
	if len(token) < MinSessionID || len(token) > MaxSessionID || !tokenRE.MatchString(token) {
		p.Add("clientToken", "%q must have %d to %d letters, digits and hyphens, beginning and ending with a letter or digit", shorten(token), MinSessionID, MaxSessionID)
	}
}

func checkList(p *Problems, field string, list []string, min, max int, re *regexp.Regexp) {
	if len(list) < min || len(list) > max {
		p.Add(field, "has %d items; %d to %d are allowed", len(list), min, max)
	}
	for i, v := range list {
		if !re.MatchString(v) {
			p.Add(fmt.Sprintf("%s[%d]", field, i), "%q does not match %s", shorten(v), re)
		}
	}
}

func checkOneOf(p *Problems, field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		p.Add(field, "%q is none of %s", value, strings.Join(allowed, ", "))
	}
}
