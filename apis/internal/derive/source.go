package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// source is a parsed v1beta1 package.
type source struct {
	fset     *token.FileSet
	group    string   // API group, from the package's +groupName
	versions []string // versions that some kind is marked with, sorted
	files    []*file  // by name
	types    map[string]*typeDecl
}

// file is one Go file of a source.
type file struct {
	syntax  *ast.File
	lines   []string          // without line ends; line n of the file is lines[n-1]
	imports map[string]string // name in the file → path
}

// typeDecl is a type of a source with the file it is in.
type typeDecl struct {
	file *file
	spec *ast.TypeSpec
	doc  *ast.CommentGroup
}

// load parses the package in dir, generated files and tests left out.
func load(dir string) (*source, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	src := &source{fset: token.NewFileSet(), types: map[string]*typeDecl{}}
	for _, path := range paths {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "zz_generated.") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if err := src.add(path); err != nil {
			return nil, err
		}
	}
	if src.group == "" {
		return nil, errors.New("no +groupName in the package's comment")
	}
	return src, src.checkMarkers()
}

// add parses one file and notes its types.
func (s *source) add(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	syntax, err := parser.ParseFile(s.fset, path, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f := &file{syntax: syntax, lines: strings.Split(string(content), "\n"), imports: map[string]string{}}
	s.files = append(s.files, f)
	for _, spec := range syntax.Imports {
		importPath, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		f.imports[importName(spec, importPath)] = importPath
	}
	for _, group := range syntax.Comments {
		for _, line := range group.List {
			if name, found := strings.CutPrefix(line.Text, "// +groupName="); found {
				s.group = name
			}
		}
	}
	for _, decl := range syntax.Decls {
		if err := s.addTypes(f, decl); err != nil {
			return err
		}
	}
	return nil
}

// importName is the name a file uses for an import: the one given, or the last element of the path.
func importName(spec *ast.ImportSpec, path string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	return path[strings.LastIndex(path, "/")+1:]
}

func (s *source) addTypes(f *file, decl ast.Decl) error {
	gen, ok := decl.(*ast.GenDecl)
	if !ok || gen.Tok != token.TYPE {
		return nil
	}
	if gen.Lparen.IsValid() {
		return fmt.Errorf("%s: grouped type declarations are not supported", s.fset.Position(gen.Pos()))
	}
	spec := gen.Specs[0].(*ast.TypeSpec)
	s.types[spec.Name.Name] = &typeDecl{file: f, spec: spec, doc: gen.Doc}
	for _, m := range markersOf(gen.Doc) {
		if m.name == markVersions {
			s.versions = append(s.versions, m.versions...)
		}
	}
	slices.Sort(s.versions)
	s.versions = slices.Compact(s.versions)
	return nil
}

// checkMarkers finds markers that would have no effect: unknown names, and versions in which no kind is served.
func (s *source) checkMarkers() error {
	var errs []error
	for _, f := range s.files {
		for _, group := range f.syntax.Comments {
			for _, m := range markersOf(group) {
				err := m.check(s.versions)
				if err == nil && m.name == markPreviousNotIn && m.pos == group.Pos() {
					err = fmt.Errorf("marker %s has no line above it", m.name)
				}
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", s.fset.Position(m.pos), err))
				}
			}
		}
	}
	return errors.Join(errs...)
}

// line is the number of the line pos is on, in its file.
func (s *source) line(pos token.Pos) int { return s.fset.Position(pos).Line }
