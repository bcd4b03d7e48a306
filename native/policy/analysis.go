package policy

import (
	"sort"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/dependencies"
)

// Analysis says what the value of an entrypoint can depend on, besides the bundle itself.
type Analysis struct {
	// Defined says whether any rule answers at the entrypoint.
	Defined bool `json:"defined"`
	// Input lists the paths below `input` that may be read. The empty path means all of it.
	Input [][]string `json:"input"`
	// Nondeterministic lists the reachable builtins whose value depends on more than their arguments.
	Nondeterministic []string `json:"nondeterministic"`
}

// timeDependent are builtins that OPA lists as deterministic although they compare with the present time.
var timeDependent = []string{
	"io.jwt.decode_verify",
	"crypto.x509.parse_and_verify_certificates",
	"crypto.x509.parse_and_verify_certificates_with_options",
}

// walk collects, without any precision about variables, everything that is reachable from an entrypoint.
type walk struct {
	compiler *ast.Compiler
	builtins map[string]bool
	seen     map[*ast.Rule]bool
	inputs   []ast.Ref
	impure   map[string]bool
	replaces bool
}

// Analyse follows the rules that can be reached from an entrypoint.
//
//  1. Walk every reachable rule and collect each reference to `input`, cut at its first variable. Every read of the
//     input starts at such a reference, so this is complete, but `x := input.subject; x.id` counts as all of
//     `input.subject`.
//  2. Ask OPA's own dependency analysis, which follows such variables.
//  3. Trust 2 only where it covers 1, and no reachable rule says `with`: that replaces documents in the middle of an
//     evaluation, and step 2 drops modifiers of an equality.
func (p *Policy) Analyse(entrypoint string) (Analysis, error) {
	start := ref(entrypoint)
	found := walk{compiler: p.compiler, builtins: impure(), seen: map[*ast.Rule]bool{}, impure: map[string]bool{}}
	found.follow(start)                                                                         // 1
	precise, err := dependencies.Base(p.compiler, ast.NewBody(ast.NewExpr(ast.NewTerm(start)))) // 2
	if err != nil {
		return Analysis{}, err
	}
	inputs := found.inputs
	if !found.replaces && covers(precise, found.inputs) { // 3
		inputs = onlyInput(precise)
	}
	names := make([]string, 0, len(found.impure))
	for name := range found.impure {
		names = append(names, name)
	}
	sort.Strings(names)
	return Analysis{
		Defined:          len(p.compiler.GetRules(start)) > 0,
		Input:            paths(inputs),
		Nondeterministic: names,
	}, nil
}

func impure() map[string]bool {
	names := map[string]bool{}
	for _, builtin := range ast.CapabilitiesForThisVersion().Builtins {
		if builtin.Nondeterministic {
			names[builtin.Name] = true
		}
	}
	for _, name := range timeDependent {
		names[name] = true
	}
	return names
}

func (w *walk) follow(target ast.Ref) {
	for _, rule := range w.compiler.GetRules(target.ConstantPrefix()) {
		if w.seen[rule] {
			continue
		}
		w.seen[rule] = true
		ast.WalkWiths(rule, func(*ast.With) bool {
			w.replaces = true
			return false
		})
		ast.WalkRefs(rule, func(found ast.Ref) bool {
			switch {
			case found[0].Equal(ast.InputRootDocument):
				w.inputs = append(w.inputs, found.ConstantPrefix())
			case found[0].Equal(ast.DefaultRootDocument):
				w.follow(found)
			case w.builtins[found.String()]:
				w.impure[found.String()] = true
			}
			return false
		})
	}
}

// covers says whether each of `all` is read, at least in part, by one of `precise`: as a prefix of it or below it.
func covers(precise, all []ast.Ref) bool {
	for _, one := range all {
		related := false
		for _, candidate := range precise {
			if one.HasPrefix(candidate) || candidate.HasPrefix(one) {
				related = true
				break
			}
		}
		if !related {
			return false
		}
	}
	return true
}

func onlyInput(refs []ast.Ref) []ast.Ref {
	kept := []ast.Ref{}
	for _, one := range refs {
		if one[0].Equal(ast.InputRootDocument) {
			kept = append(kept, one)
		}
	}
	return kept
}

// paths turns references into lists of keys, cut at the first key that is not a string (an index of an array).
func paths(refs []ast.Ref) [][]string {
	found := [][]string{}
	for _, one := range refs {
		path := []string{}
		for _, term := range one[1:] {
			key, ok := term.Value.(ast.String)
			if !ok {
				break
			}
			path = append(path, string(key))
		}
		found = append(found, path)
	}
	sort.Slice(found, func(i, j int) bool { return less(found[i], found[j]) })
	shortest := [][]string{}
	for _, path := range found {
		if len(shortest) == 0 || !below(path, shortest[len(shortest)-1]) {
			shortest = append(shortest, path)
		}
	}
	return shortest
}

func less(a, b []string) bool {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return len(a) < len(b)
}

func below(path, prefix []string) bool {
	if len(path) < len(prefix) {
		return false
	}
	for i, key := range prefix {
		if path[i] != key {
			return false
		}
	}
	return true
}
