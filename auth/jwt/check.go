package jwt

import (
	"github.com/isolde-run/isolde"
)

// Check says whether this package can enforce all that an authorizer asks
// for; a runtime with another must not be served as if it were. It asks nobody.
// Errors are [isolde.Error] with CodeInvalid or CodeUnsupported.
func Check(a *isolde.JWTAuthorizer) error {
	if err := checkURL(a.DiscoveryURL); err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "discoveryUrl: %s", err)
	}
	switch {
	case a.AllowedWorkloads != nil:
		return isolde.Errorf(isolde.CodeUnsupported, "allowedWorkloadConfiguration names workloads of AWS, which do not exist here")
	case a.PrivateEndpoint != nil || len(a.PrivateEndpointOverrides) > 0:
		return isolde.Errorf(isolde.CodeUnsupported, "privateEndpoint is a way through AWS's network, which does not exist here").
			WithHint("leave it out if this server reaches %s itself", a.DiscoveryURL)
	case len(a.AllowedAudience)+len(a.AllowedClients)+len(a.AllowedScopes)+len(a.CustomClaims) == 0:
		return isolde.Errorf(isolde.CodeInvalid, "customJWTAuthorizer would take every token of the issuer, whoever it is for").
			WithHint("set allowedAudience, allowedClients, allowedScopes or customClaims")
	}
	for _, r := range a.CustomClaims {
		if err := checkRule(r); err != nil {
			return err
		}
	}
	return nil
}

// checkRule knows which operators go with which types: a string EQUALS a
// string, a list CONTAINS a string or CONTAINS_ANY of several.
func checkRule(r isolde.ClaimRule) error {
	one, many := r.Match.Value.String != nil, len(r.Match.Value.Strings) > 0
	switch how := r.Type + " " + r.Match.Operator; {
	case how == "STRING EQUALS" && one && !many,
		how == "STRING_ARRAY CONTAINS" && one && !many,
		how == "STRING_ARRAY CONTAINS_ANY" && many && !one:
		return nil
	}
	return isolde.Errorf(isolde.CodeInvalid, "customClaims: claim %q of type %s cannot be matched by %s with the value given", r.Name, r.Type, r.Match.Operator).
		WithHint("a STRING EQUALS matchValueString; a STRING_ARRAY CONTAINS matchValueString, or CONTAINS_ANY of matchValueStringList")
}
