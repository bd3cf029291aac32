package main

import (
	"go/ast"
	"strings"
)

// edit converts the lines of one declaration to those of a version. It works on lines, not on the syntax tree, because
// comments in a tree depend on positions and get lost or misplaced when nodes around them are removed.
type edit struct {
	*derivation
	file    *file
	drop    map[int]bool   // lines that do not exist in the version
	replace map[int]string // lines that are different in the version
}

// text is what is left of the lines from first to last.
func (e edit) text(first, last int) string {
	var kept []string
	for n := first; n <= last; n++ {
		if e.drop[n] {
			continue
		}
		line, changed := e.replace[n]
		if !changed {
			line = e.file.lines[n-1]
		}
		kept = append(kept, line)
	}
	return strings.Join(kept, "\n")
}

// comment applies the markers about lines in a comment, and removes all markers.
func (e edit) comment(group *ast.CommentGroup) {
	if group == nil {
		return
	}
	previous := 0 // the last line that was no marker of ours
	for _, comment := range group.List {
		n := e.line(comment.Pos())
		m, ok := parseMarker(comment)
		if !ok {
			e.drop[n] = comment.Text == storageMarker
			previous = n
			continue
		}
		e.drop[n] = true
		switch {
		case !m.in(e.version):
		case m.name == markPreviousNotIn:
			e.drop[previous] = true
		case m.name == markOnlyIn:
			e.drop[n] = false
			e.replace[n] = "// " + m.text
		}
	}
}

// fields drops and changes the fields of all structs in a type expression.
func (e edit) fields(expr ast.Expr) {
	ast.Inspect(expr, func(node ast.Node) bool {
		field, ok := node.(*ast.Field)
		if !ok {
			return true
		}
		if _, gone := find(field.Doc, markNotIn, e.version); gone {
			e.dropNode(field.Doc, field)
			return false
		}
		e.comment(field.Doc)
		if m, changed := find(field.Doc, markTypeIn, e.version); changed {
			e.changeType(field, m.text)
		}
		return true
	})
}

// changeType replaces the type in the line of a field.
func (e edit) changeType(field *ast.Field, to string) {
	n := e.line(field.Type.Pos())
	line := e.file.lines[n-1]
	from, end := e.fset.Position(field.Type.Pos()).Column-1, e.fset.Position(field.Type.End()).Column-1
	e.replace[n] = line[:from] + to + line[end:]
}

// constants removes the constants that are not of an emitted type, and reports whether any is left.
func (e edit) constants(gen *ast.GenDecl) bool {
	left := false
	for _, spec := range gen.Specs {
		value := spec.(*ast.ValueSpec)
		of, typed := value.Type.(*ast.Ident)
		_, gone := find(value.Doc, markNotIn, e.version)
		if gone || !typed || !e.emitted[of.Name] {
			e.dropNode(value.Doc, value)
			continue
		}
		e.comment(value.Doc)
		left = true
	}
	return left
}

// dropNode drops the lines of a node and of its comment, and the empty line that parts it from the next.
func (e edit) dropNode(doc *ast.CommentGroup, node ast.Node) {
	first := e.line(node.Pos())
	if doc != nil {
		first = e.line(doc.Pos())
	}
	last := e.line(node.End())
	if last < len(e.file.lines) && strings.TrimSpace(e.file.lines[last]) == "" {
		last++
	}
	for n := first; n <= last; n++ {
		e.drop[n] = true
	}
}
