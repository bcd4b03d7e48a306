// Package policy is what extauthz needs of OPA beyond its server: load a policy bundle from memory, evaluate an
// entrypoint, and say what an entrypoint can read. The `opa` tool and the C library share it.
package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/cache"
	"github.com/open-policy-agent/opa/v1/util"
)

// Problem is one reason why a policy bundle is refused. Line counts from 1; 0 means the bundle as a whole.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
}

// Policy is a compiled policy bundle. It is safe for concurrent use.
type Policy struct {
	compiler *ast.Compiler
	store    storage.Store
	results  cache.InterQueryCache
	values   cache.InterQueryValueCache

	mu       sync.RWMutex
	prepared map[string]*rego.PreparedEvalQuery
}

var (
	// ErrUndefined says that the entrypoint has no value for the input.
	ErrUndefined = errors.New("undefined")
	// ErrDeadline says that the evaluation was cancelled.
	ErrDeadline = errors.New("deadline")
	// ErrInput says that the input is not JSON.
	ErrInput = errors.New("the input is not JSON")
)

// Load compiles a bundle (tar.gz, as OPA's bundle API serves it).
func Load(ctx context.Context, raw []byte) (*Policy, []Problem) {
	contents, err := bundle.NewReader(bytes.NewReader(raw)).
		WithSkipBundleVerification(true).
		WithProcessAnnotations(true).
		WithRegoVersion(ast.RegoV1).
		Read()
	if err != nil {
		return nil, problems(err)
	}
	store := inmem.NewFromObjectWithOpts(contents.Data, inmem.OptReturnASTValuesOnRead(true))
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, problems(err)
	}
	defer store.Abort(ctx, txn)
	compiler := ast.NewCompiler().WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn))
	compiler.Compile(contents.ParsedModules(""))
	if compiler.Failed() {
		return nil, problems(compiler.Errors)
	}
	config, err := cache.ParseCachingConfig(nil)
	if err != nil {
		return nil, problems(err)
	}
	return &Policy{
		compiler: compiler,
		store:    store,
		results:  cache.NewInterQueryCacheWithContext(ctx, config),
		values:   cache.NewInterQueryValueCache(ctx, config),
		prepared: map[string]*rego.PreparedEvalQuery{},
	}, nil
}

// Prepare compiles the query of an entrypoint (`a/b/c` for `data.a.b.c`) once.
func (p *Policy) Prepare(ctx context.Context, entrypoint string) (*rego.PreparedEvalQuery, error) {
	p.mu.RLock()
	query := p.prepared[entrypoint]
	p.mu.RUnlock()
	if query != nil {
		return query, nil
	}
	made, err := rego.New(
		rego.Compiler(p.compiler),
		rego.Store(p.store),
		rego.StoreReadAST(true),
		rego.ParsedQuery(ast.NewBody(ast.NewExpr(ast.NewTerm(ref(entrypoint))))),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.prepared[entrypoint] = &made
	return &made, nil
}

// Eval gives the entrypoint's value for the input as JSON. It returns ErrUndefined, ErrDeadline, ErrInput, or OPA's
// own evaluation error.
func (p *Policy) Eval(ctx context.Context, entrypoint string, input []byte) ([]byte, error) {
	query, err := p.Prepare(ctx, entrypoint)
	if err != nil {
		return nil, err
	}
	var parsed any
	if err := util.UnmarshalJSON(input, &parsed); err != nil {
		return nil, ErrInput
	}
	value, err := ast.InterfaceToValue(parsed)
	if err != nil {
		return nil, ErrInput
	}
	found, err := query.Eval(ctx,
		rego.EvalParsedInput(value),
		rego.EvalInterQueryBuiltinCache(p.results),
		rego.EvalInterQueryBuiltinValueCache(p.values),
	)
	switch {
	case err != nil && (topdown.IsCancel(err) || ctx.Err() != nil):
		return nil, ErrDeadline
	case err != nil:
		return nil, err
	case len(found) == 0 || len(found[0].Expressions) == 0:
		return nil, ErrUndefined
	}
	return json.Marshal(found[0].Expressions[0].Value)
}

// Entrypoints lists what the policy's metadata declares as entrypoints, as `a/b/c`.
func (p *Policy) Entrypoints() []string {
	found := map[string]bool{}
	for _, entry := range p.compiler.GetAnnotationSet().Flatten() {
		if entry.Annotations == nil || !entry.Annotations.Entrypoint {
			continue
		}
		if path, ok := entrypoint(entry.Path); ok {
			found[path] = true
		}
	}
	names := make([]string, 0, len(found))
	for name := range found {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func ref(entrypoint string) ast.Ref {
	path := ast.Ref{ast.DefaultRootDocument}
	for _, part := range strings.Split(entrypoint, "/") {
		path = append(path, ast.StringTerm(part))
	}
	return path
}

func entrypoint(path ast.Ref) (string, bool) {
	parts := []string{}
	for _, term := range path[1:] {
		part, ok := term.Value.(ast.String)
		if !ok {
			return "", false
		}
		parts = append(parts, string(part))
	}
	return strings.Join(parts, "/"), len(parts) > 0
}

func problems(err error) []Problem {
	var several ast.Errors
	if !errors.As(err, &several) {
		var one *ast.Error
		if !errors.As(err, &one) {
			return []Problem{{Message: err.Error()}}
		}
		several = ast.Errors{one}
	}
	found := make([]Problem, 0, len(several))
	for _, one := range several {
		problem := Problem{Message: fmt.Sprintf("%s: %s", one.Code, one.Message)}
		if one.Location != nil {
			problem.File = strings.TrimPrefix(one.Location.File, "/")
			problem.Line = one.Location.Row
		}
		found = append(found, problem)
	}
	return found
}
